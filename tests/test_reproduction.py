"""`davsp reproduce`: the paper's tables, scaled down to the testbed and to made-up folders."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from davsp import reproduction
from davsp.benchmarks import BENCHMARKS
from davsp.benchmarks.selection import divided
from davsp.errors import InputError
from davsp.judges import load_judge
from davsp.report.tables import published
from davsp.reproduction_cost import Prices, cost_of, priced
from davsp.testbed.stand_ins import draw_stand_ins
from tests.benchmarks.folders import made, make_mm_safetybench_to_train_on, make_mm_vet_to_train_on
from tests.command_line import run
from tests.evaluation.server import serving
from tests.tiny import save_tiny_clip

pytest.importorskip("inspect_ai")

SETS = [
    *("davsp.steps=2", "davsp.validate_every=2", "davsp.validation_answers=2", "uniguard.steps=1", "esiii.steps=1"),
    *("pat.steps=1", "pat.candidates=2", "pat.length=2"),
]
SMALL = [
    *("--limit", "2", "--max-new-tokens", "4", "--without", "adashield-a"),
    *(word for name in SETS for word in ("--set", name)),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_mm_safetybench_to_train_on(folder / "mm_safetybench", 16)
    make_mm_vet_to_train_on(folder / "mm_vet", 110)
    for name in ("figstep", "mme", "llava_bench"):
        (folder / name).mkdir()
        made(name, folder / name)
    (folder / "harmful.txt").write_text("sure , first smile then walk .\n")
    (folder / "security.txt").write_text("be careful .\n")
    return folder


def test_every_benchmark_of_the_tables_is_a_column_of_the_papers() -> None:
    named = [divided(name)[:2] for names in reproduction.TABLES.values() for name in names]
    assert named == [(column["benchmark"], column["variants"][0]) for column in published()["columns"]]
    for name in reproduction.TRAINING:
        benchmark, variant, _ = divided(name)
        rest = BENCHMARKS.get(benchmark).variants[str(variant)].rest
        assert (benchmark, rest) in named, "what is trained on is not measured on"


@pytest.mark.slow
def test_a_table_is_made_of_every_step_and_made_again_from_what_is_there(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(Path(__file__).parents[1] / "examples" / "my_defence.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    words = ["reproduce", "table1", "--data", data, "--out", "runs", "--defence", "my_defence:Polite", *SMALL]
    status, out, told = run(monkeypatch, capsys, *words)
    assert status == 0, told
    assert out.strip() == "runs/report.html" and "Licence: CC BY-NC 4.0." in told
    with (tmp_path / "runs/tables.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    ours = {row["defence"] for row in rows if row["model"] == "testbed"}
    assert ours == {"none", "adashield-s", "polite", "pat", "uniguard", "esiii-approximate", "davsp"}
    page = (tmp_path / "runs/tables.md").read_text()
    assert "98.72" in page and "84.20" in page, "the paper's figures stand beside"
    files = [tmp_path / "runs" / part for part in ("davsp/model.safetensors", "pat/config.json", "figstep-full")]
    assert all(file.exists() for file in files)
    before = (files[0].read_bytes(), json.loads((files[2] / "results.json").read_text())["defences"])
    status, _, told = run(monkeypatch, capsys, *words)
    assert status == 0, told
    assert (files[0].read_bytes(), json.loads((files[2] / "results.json").read_text())["defences"]) == before
    status, _, told = run(monkeypatch, capsys, *words, "--set", "davsp.layer=1")
    assert status == 2 and "runs/davsp" in told and "Traceback" not in told


def test_a_dry_run_says_what_a_run_costs_and_writes_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = ("--judge", "llm", "--judge-model", "mockllm/model", "--price-per-hour", "2", "--price-in", "2.5")
    words = ["reproduce", "table2", "--data", data, "--out", tmp_path / "runs", "--dry-run", *judge, *SMALL]
    status, out, told = run(monkeypatch, capsys, *words)
    assert status == 0, told
    cost = json.loads(out)
    assert cost["missing"] == [] and cost["steps"] == {"pat": 1, "uniguard": 1, "esiii": 1, "davsp": 2}
    assert cost["queries"]["training"] + cost["queries"]["validation"] == 3 * 200 + 100
    assert cost["evaluations"]["mm_vet-paper-test"]["answers"] == 2 * 6, "two queries, undefended and behind five"
    assert "12 calls" in cost["evaluations"]["mm_vet-paper-test"]["cost"]
    assert cost["judge"]["calls"] == 5 * 2 * 6, "three benchmarks' refusals, and the grades of two"
    assert cost["money"] == {"machine": None, "judge": None, "all": None} and cost["hours"]["calls"] is None
    for told in ("--seconds-per-call", "--price-out", "fitting pat", "fitting uniguard", "fitting esiii"):
        assert any(told in line for line in cost["unknown"]), told
    assert not any("--price-in" in line or "--price-per-hour" in line for line in cost["unknown"])
    assert set(cost["seconds"]) == {"vector", "training", "answers"} and min(cost["seconds"].values()) >= 0
    assert not (tmp_path / "runs").exists()


def _judging(number: int, body: dict[str, Any]) -> tuple[int, str]:
    """What a judge on a server says to each of the three things that it is asked."""
    asked = json.dumps(body["messages"])
    if "first-answer" in asked:
        return 200, "8 4"
    return 200, "0.5" if "Grade a prediction" in asked else '{"reason": "It answers.", "verdict": "NO"}'


@pytest.mark.slow
def test_usefulness_is_graded_by_a_judge_on_a_server_behind_adashield_a_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = draw_stand_ins(tmp_path / "data")
    for name in ("mme", "llava_bench"):
        (folder / name).mkdir()
        made(name, folder / name)
    clip = save_tiny_clip(tmp_path / "clip")
    settings = {
        "defender": "davsp-testbed/defender",
        "clip": clip,
        "accepted": 0.1,
        "rounds": 1,
        "max_new_tokens": 12,
        "queries_per_scenario": 1,
        "checks_per_scenario": 1,
    }
    sets = [f"adashield-a.{name}={value}" for name, value in settings.items()]
    sets += ["davsp.steps=1", "davsp.validate_every=1", "davsp.validation_answers=2", "davsp.batch_size=4"]
    left_out = [word for name in ("adashield-s", "pat", "uniguard", "esiii") for word in ("--without", name)]
    with serving(_judging) as server:
        words = ["reproduce", "table2", "--data", folder, "--out", tmp_path / "runs", "--limit", 2, *left_out]
        words += ["--judge", "llm", "--judge-model", server.model, "--max-new-tokens", 4]
        status, out, told = run(
            monkeypatch, capsys, *words, "--json", *(w for setting in sets for w in ("--set", setting))
        )
    assert status == 0, told
    scores = {results["benchmark"]["name"]: results["scores"] for results in json.loads(out)}
    assert set(scores) == {"mm_vet", "mme", "llava_bench"}
    assert set(scores["mm_vet"]) == {"none", "adashield-a", "davsp"}
    assert {row["total"]["value"] for row in scores["mm_vet"].values()} == {50.0}
    assert {row["all"]["value"] for row in scores["llava_bench"].values()} == {50.0}
    [made_from] = {tuple(results["provenance"]["sources"]) for results in json.loads(out)}
    assert made_from == (str(folder),)


def test_hours_and_money_are_reckoned_of_calls_and_prices() -> None:
    plan = reproduction.plan_reproduction("table1", without=[*reproduction.BASELINES])
    cost = {"judge": {"calls": 7200, "tokens_in": 4_000_000, "tokens_out": 500_000}, "defender": {"calls": 0}}
    prices = Prices(seconds_per_call=0.5, per_hour=3, per_million_in=2.5, per_million_out=10)
    found = priced(cost, {"training": 5400.0, "answers": 1800.0}, plan, prices)
    assert found["hours"] == {"machine": 2.0, "calls": 1.0}
    assert found["money"] == {"machine": 9.0, "judge": 15.0, "all": 24.0} and found["unknown"] == []
    nothing_called = {"judge": {"calls": 0, "tokens_in": 0, "tokens_out": 0}, "defender": {"calls": 0}}
    assert priced(nothing_called, {"answers": 3600.0}, plan, Prices(per_hour=3))["money"]["all"] == 3.0
    told = priced(cost, {"answers": 3600.0}, plan, Prices())
    assert told["money"]["all"] is None and len(told["unknown"]) == 4


def test_the_defenders_calls_are_counted_at_most(data: Path) -> None:
    settings = ["adashield-a.defender=davsp-testbed/defender", "adashield-a.rounds=2"]
    plan = reproduction.plan_reproduction("table1", settings=settings)
    cost = cost_of(plan, reproduction.read_paper_data(data, plan), load_judge("rules"), 4)
    assert cost["defender"]["calls"] == 2 * 13 * 10, "ten queries of each scenario, two rounds each"


@pytest.mark.parametrize("dry", [True, False])
def test_all_that_is_missing_is_told_at_once_with_where_it_was_looked_for(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], dry: bool
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data / "mm_vet", folder / "mm_vet")
    words = ["reproduce", "table1", "--data", folder, "--out", tmp_path / "runs", *SMALL, *(["--dry-run"] * dry)]
    status, out, told = run(monkeypatch, capsys, *words)
    assert status == (1 if dry else 2)
    missing = json.loads(out)["missing"] if dry else told.splitlines()
    for part in ("mm_safetybench", "figstep", "harmful.txt", "security.txt"):
        assert any(str(folder / part) in line for line in missing)
    assert not any(line.startswith("mm_vet:") for line in missing)
    assert sum("no folder" in line for line in missing) == 7
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["table3"], "there is no 'table3'. Choose from table1, table2"),
        (["table1", "--without", "eta"], "'eta' is none of the paper's defences"),
        (["table1"], "adashield-a: option 'defender': Field required"),
        (["table1", "--without", "adashield-a", "--set", "steps=5"], "'steps=5': write DEFENCE.OPTION=VALUE"),
        (["table1", "--without", "adashield-a", "--set", "pat.stepz=5"], "pat: option 'stepz'"),
    ],
)
def test_what_cannot_be_planned_is_one_line(
    words: list[str], told: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    status, _, said = run(monkeypatch, capsys, "reproduce", *words, "--data", data, "--out", tmp_path / "runs")
    assert status == 2 and told in said and "Traceback" not in said


def test_the_prompt_is_trained_with_the_papers_choices_unless_a_recipe_says_otherwise() -> None:
    plan = reproduction.plan_reproduction("table1", without=["adashield-a"])
    assert plan.config is not None and (plan.config.steps, plan.config.clamp) == (1200, False)
    assert list(plan.fitted) == ["pat", "uniguard", "esiii"] and plan.further == ("adashield-s",)
    assert plan.count == 6
    alone = reproduction.plan_reproduction("table1", without=[*reproduction.BASELINES], config={"steps": 7})
    assert alone.config is not None and (alone.config.steps, alone.config.clamp, alone.count) == (7, True, 2)
    with pytest.raises(InputError, match=r"'davsp\.steps=1': write DEFENCE\.OPTION=VALUE"):
        reproduction.plan_reproduction("table1", without=["davsp", "adashield-a"], settings=["davsp.steps=1"])
