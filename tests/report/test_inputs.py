"""What the page of one evaluation needs beside its results, in a file."""

import base64
import json
from pathlib import Path

import pytest

from davsp.errors import InputError
from davsp.report.evaluation import rebuild_report, write_report
from davsp.report.inputs import ReportInputs, read_inputs, write_inputs
from davsp.results import write_results
from tests.report.one_evaluation import PROJECTIONS, RESULTS, TRAINING, png, transcript

INPUTS = ReportInputs(
    title="Mine",
    projections=PROJECTIONS,
    layers=[20],
    thresholds=(2.5, -0.5),
    training=TRAINING,
    border=png(),
    transcripts=[transcript("no")],
)


def test_the_inputs_of_a_page_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_inputs(tmp_path, INPUTS)
    assert read_inputs(tmp_path) == INPUTS


def test_pictures_are_written_as_base64_and_all_keys_in_their_order(tmp_path: Path) -> None:
    write_inputs(tmp_path, INPUTS)
    content = json.loads((tmp_path / "report_inputs.json").read_text())
    assert list(content) == [
        "title",
        "prompt",
        "projections",
        "layers",
        "thresholds",
        "training",
        "border",
        "transcripts",
    ]
    assert base64.b64decode(content["border"], validate=True) == png()
    assert (content["projections"], content["training"]) == (PROJECTIONS, TRAINING)
    [found] = content["transcripts"]
    assert list(found) == ["id", "group", "malicious", "question", "answers"]
    [answer] = found["answers"]
    assert base64.b64decode(answer.pop("image"), validate=True) == png()
    assert answer == {"defence": "border", "text": "no", "verdict": "resisted", "error": None}


def test_a_page_can_be_written_again_from_its_folder(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_results(tmp_path, RESULTS)
    write_inputs(tmp_path, INPUTS)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    page = write_report(tmp_path, RESULTS, INPUTS)
    first = page.read_text()
    page.unlink()
    assert rebuild_report(tmp_path).read_text() == first
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path != page} == files


def test_a_folder_without_inputs_holds_no_finished_evaluation(tmp_path: Path) -> None:
    write_results(tmp_path, RESULTS)
    with pytest.raises(InputError, match="holds no finished evaluation"):
        rebuild_report(tmp_path)


def test_pages_of_earlier_versions_name_one_layer() -> None:
    assert ReportInputs.model_validate({"title": "old", "layer": 4}).layers == [4]
    assert ReportInputs.model_validate({"title": "old", "layer": None}).layers == []
