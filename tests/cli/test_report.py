"""`davsp report`."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from davsp.cli.report import report
from davsp.errors import InputError
from tests.evaluations import FOUR, R, U, benchmark, write_evaluation, write_model, write_validation

INPUTS: dict[str, Any] = {"title": "Mine", "projections": {}, "training": [], "border": None, "transcripts": []}


def davsp(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "davsp", "report", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_writes_page_and_tables_to_the_first_folder(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    first, second = write_model(tmp_path / "a", "a", 2), write_model(tmp_path / "b", "b", 2)
    done = davsp(first, second, "--judge-validation", write_validation(tmp_path))
    assert (done.returncode, done.stdout) == (0, f"{first / 'report.html'}\n"), done.stderr
    files = {path.name for path in first.iterdir() if path.is_file()}
    assert files == {"report.html", "tables.md", "tables.tex", "tables.csv", "scenarios.csv", "significance.csv"}
    assert not [path for path in second.iterdir() if path.is_file()]
    scenarios = list(csv.DictReader((first / "scenarios.csv").open()))
    assert {"violence", "fraud", "counting", "total"} <= {line["group"] for line in scenarios}
    assert davsp(first).returncode == 0  # a folder with a page of tables is still no evaluation


@pytest.mark.parametrize(
    "damage",
    [
        {"transcripts": 5},
        {"transcripts": [{"id": "q"}]},
        {"projections": {"a": [1]}},
        {"training": 5},
        {"training": [{"loss": 1.0}]},
        {"border": "no"},
        None,
    ],
)
def test_damaged_report_inputs_are_named(tmp_path: Path, damage: dict[str, Any] | None) -> None:
    one = write_evaluation(tmp_path / "one", FOUR, {"none": [R, R, R, U]})
    (one / "report_inputs.json").write_text(json.dumps([] if damage is None else INPUTS | damage))
    with pytest.raises(InputError, match=r"report_inputs\.json is damaged"):
        report([one])


def test_one_evaluation_has_its_own_page_written_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    one = write_evaluation(tmp_path / "one", FOUR, {"none": [R, R, R, U]}, benchmark=benchmark("figstep", "tiny"))
    write_evaluation(one / "another", FOUR, {"none": [R, R, R, R]})
    (one / "report_inputs.json").write_text(json.dumps(INPUTS))
    report([one])
    assert capsys.readouterr().out == f"{one / 'report.html'}\n"
    page = (one / "report.html").read_text()
    assert "<h1>Mine</h1>" in page and "Nobody, Nothing, 2026." in page
    assert "Malicious queries resisted, by kind" in page and "Benign queries answered right, by kind" not in page
    assert not (one / "tables.md").exists()


def test_one_evaluation_s_page_says_how_well_its_judge_agrees_with_people(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    one = write_evaluation(tmp_path / "one", FOUR, {"none": [R, R, R, R]})
    (one / "report_inputs.json").write_text(json.dumps(INPUTS))
    report([one])
    assert "agrees with people" in (one / "report.html").read_text()
    report([one], judge_validations=[write_validation(tmp_path)])
    page = (one / "report.html").read_text()
    assert "agrees with people" not in page
    assert "Judge rules against people on refusal (labels.csv): balanced accuracy 0.9" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty"], "holds no finished evaluation"),
        (["one", "--viewer"], "give --out"),
        (["one", "empty"], "give another folder with --out"),
        (["empty", "one"], "holds no finished evaluation"),
        (["one", "--out", "out", "--judge-validation", "none.json"], "none.json"),
        (["one", "--out", "out", "--viewer"], "no logs"),
    ],
)
def test_bad_arguments_are_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write_evaluation(tmp_path / "one", FOUR, {"none": [R, R, R, R]})
    done = davsp(*arguments)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
