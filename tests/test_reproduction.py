"""`davsp reproduce`: the paper's tables, scaled down to the testbed and to made-up folders."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from davsp import reproduction
from davsp.benchmarks import BENCHMARKS
from davsp.benchmarks.selection import divided
from davsp.errors import InputError
from davsp.report.tables import published
from tests.benchmarks.folders import made, make_mm_safetybench_to_train_on, make_mm_vet_to_train_on
from tests.command_line import run

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
    judge = ("--judge", "llm", "--judge-model", "mockllm/model")
    words = ["reproduce", "table2", "--data", data, "--out", tmp_path / "runs", "--dry-run", *judge, *SMALL]
    status, out, told = run(monkeypatch, capsys, *words)
    assert status == 0, told
    cost = json.loads(out)
    assert cost["missing"] == [] and cost["steps"] == {"pat": 1, "uniguard": 1, "esiii": 1, "davsp": 2}
    assert cost["queries"]["training"] + cost["queries"]["validation"] == 3 * 200 + 100
    assert cost["evaluations"]["mm_vet-paper-test"]["answers"] == 2 * 6, "two queries, undefended and behind five"
    assert "12 calls" in cost["evaluations"]["mm_vet-paper-test"]["cost"]
    assert set(cost["seconds"]) == {"vector", "training", "answers"} and min(cost["seconds"].values()) >= 0
    assert not (tmp_path / "runs").exists()


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
