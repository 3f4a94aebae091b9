"""The GPU's bench on a CPU: every row with tiny models, and what fails or takes too long leaves a row that says so."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from bench.gpu_place import NotMeasured, Place
from bench.measuring import Row

from bench import __main__ as command
from bench import gpu, gpu_jobs, gpu_training
from davsp.models.shipped import SMOL


def names(part: str) -> list[tuple[str, str]]:
    return [(name, gpu.PARTS[part].size) for name in gpu.PARTS[part].rows]


@pytest.mark.slow
@pytest.mark.parametrize("part", ["7b", "13b", "smol"])
def test_every_row_is_measured_with_tiny_models(part: str, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    assert command.main(["--gpu", "--tiny", "--part", part, "--results", str(file)]) == 0
    found = json.loads(file.read_text())
    assert [(row["name"], row["size"]) for row in found["rows"]] == names(part)
    for row in found["rows"]:
        measured = [row["vs_reference"], row["vs_floor"], *row.get("figures", {}).values()]
        assert any(measured) and all(each["median"] > 0 for each in measured if each)
    assert found["machine"]["gpu"] is None and found["seconds"] > 0 and found["date"]


def test_a_part_that_takes_too_long_is_ended_and_said_to_be(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = gpu.measure(tmp_path / "results.json", ["demo", "smol"], tiny=True, budget=3)
    said = {row["size"]: row["failed"] for row in rows}
    assert said == {"testbed": "stopped after 3 s", SMOL: "no time was left"}
    assert "davsp demo (testbed): not measured: stopped after 3 s" in capfd.readouterr().out


def test_a_row_that_fails_leaves_the_others_their_turn(tmp_path: Path) -> None:
    def break_down(place: Place) -> Row:
        raise NotMeasured("inspect-ai is missing\nand more of it")

    def work(place: Place) -> Row:
        return gpu.failed("second", place.size, "")

    told = tmp_path / "rows.jsonl"
    gpu.run_part(gpu.Part("7b", 9, {"first": break_down, "second": work}), told, tiny=True)
    first, second = map(json.loads, told.read_text().splitlines())
    assert first["failed"] == "inspect-ai is missing" and second["name"] == "second"


def test_without_inspect_the_row_that_needs_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    with pytest.raises(NotMeasured, match="inspect-ai is missing"):
        gpu_jobs.answers_row(Place("7b", True, tmp_path), inspected=True)


def test_other_rows_of_the_file_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    other: dict[str, Any] = gpu.failed("another", "7b", "why not")
    old = gpu.failed(gpu_training.step_name(2), "7b", "an earlier reason")
    file.write_text(json.dumps({"rows": [other, old]}))
    rows = gpu.measure(file, ["7b"], tiny=True, budget=0)
    assert rows[0] == other and [row["name"] for row in rows[1:]] == list(gpu.PARTS["7b"].rows)
    assert json.loads(file.read_text())["rows"] == rows


def test_a_floor_that_does_not_fit_is_left_out() -> None:
    def too_large() -> None:
        raise torch.OutOfMemoryError

    assert not gpu_training._fits(too_large)
    assert gpu_training._fits(lambda: None)


def test_a_table_that_was_brought_back_is_written_into_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "performance.md"
    page.write_text(command.PAGE.read_text("utf-8"), "utf-8")
    file = tmp_path / "results-gpu.json"
    gpu.measure(file, ["smol"], tiny=True, budget=0)
    monkeypatch.setattr(command, "PAGE", page)
    monkeypatch.setattr(command, "RESULTS_GPU", file)
    assert command.main(["--page"]) == 0
    written = page.read_text("utf-8")
    table = written.partition("<!-- gpu -->")[2].partition("<!-- /gpu -->")[0]
    assert "| 500 steps of 32, vector included | testbed-smol |  |  | 0 | not measured: no time was left |" in table
    assert written.count("<!-- /bench -->") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--gpu"], "there is no GPU here"),
        (["--gpu", "--tiny"], "--results FILE"),
        (["--gpu", "--part", "apply"], "apply: choose from 7b"),
    ],
)
def test_what_cannot_be_measured_is_refused(asked: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(asked)
    assert said in capsys.readouterr().err
