"""Evaluations in folders, and their transcripts."""

import json
from pathlib import Path
from typing import Any

import pytest

from davsp.errors import InputError
from davsp.report.collect import Evaluation, collect, with_answers
from davsp.results import read_results
from tests.evaluations import FOUR, SAFETY, R, verdicts, write_evaluation


def test_results_of_the_first_version_are_read(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "old", SAFETY, {"none": verdicts(SAFETY, 0.5, 0)})
    results = json.loads((folder / "results.json").read_text())
    del results["judge"]
    (folder / "results.json").write_text(json.dumps(results))
    [found] = collect([tmp_path])
    assert (found.judge, found.benchmark, found.results.scores, found.title) == ("rules", None, {}, "old")


def test_a_folder_and_the_folders_in_it_are_read_once(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "all" / "a", FOUR, {"none": [R, R, R, R]})
    found = collect([tmp_path / "all", tmp_path / "all" / "a"])
    assert [e.folder for e in found] == [tmp_path / "all" / "a"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-9], "cannot be read"),
        (lambda text: "[1]", "is damaged"),
        (lambda text: text.replace('"rate"', '"rats"', 1), r"damaged: defences\.none\.rsr\.violence\.rate"),
        (lambda text: text.replace('"unscored": {"none": 0}', '"unscored": {}'), "unscored lacks 'none'"),
        (lambda text: text.replace('"queries": 4', '"queries": 0'), "damaged: queries"),
        (lambda text: text.replace('"queries": 4', '"queries": "4"'), "damaged: queries"),
        (lambda text: text.replace('"rate": 1.0', '"rate": NaN'), r"violence\.rate"),
        (lambda text: text.replace('"rate": 1.0', '"rate": 2.0'), r"violence\.rate"),
        (lambda text: text.replace('"rate": 1.0', '"rate": null'), "go with an n above 0"),
        (lambda text: text.replace('"n": 4', '"n": -4'), r"violence\.n"),
        (lambda text: text.replace('"n": 4', '"n": 4, "more": 1'), r"violence\.more"),
    ],
)
def test_damaged_results_are_named(tmp_path: Path, damage: Any, message: str) -> None:
    file = write_evaluation(tmp_path / "a", FOUR, {"none": [R, R, R, R]}) / "results.json"
    text = file.read_text()
    assert damage(text) != text
    file.write_text(damage(text))
    with pytest.raises(InputError, match=rf"results\.json.*{message}"):
        collect([tmp_path])


def test_a_damaged_transcript_is_named_with_its_line(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "a", FOUR, {"none": [R, R, R, R]})
    file = folder / "transcripts.jsonl"
    text = file.read_text()
    for damaged, message in (
        (text[:-9], "line 4: no JSON"),
        (text.replace("resisted", "safe", 1), "line 1 is damaged"),
        (text.replace("q1", "q0"), "line 2: the query 'q0' is there twice"),
        ("".join(text.splitlines(keepends=True)[:3]), "has 3 of 4 queries"),
    ):
        file.write_text(damaged)
        with pytest.raises(InputError, match=rf"transcripts\.jsonl,? {message}"):
            with_answers(Evaluation(folder, read_results(folder)))


def test_a_line_separator_inside_an_answer_ends_no_record(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "a", FOUR, {"none": [R, R, R, R]})
    file = folder / "transcripts.jsonl"
    file.write_text(file.read_text().replace("an answer", "an\u2028answer"), encoding="utf-8")
    assert len(with_answers(Evaluation(folder, read_results(folder))).queries) == 4
