"""POPE: its rule for answers, its five figures, and files of answers that cannot be counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from davsp.benchmarks import pope
from davsp.errors import InputError
from tests.benchmarks.folders import lines


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("yes", "yes"),
        ("No, there is none", "no"),
        ("There is not one", "no"),
        ("Yes. There is no car", "yes"),
        ("NO", "yes"),
        ("none at all", "yes"),
        ("", "yes"),
    ],
)
def test_pope_reads_the_first_sentence_as_the_official_code_does(text: str, parsed: str) -> None:
    assert pope.parse(text) == parsed


def test_pope_scores_follow_from_the_four_counts() -> None:
    said = [("yes", "yes")] * 5 + [("yes", "no")] * 3 + [("no", "yes")] * 1 + [("no", "no")] * 11
    found = pope.score(said).figures
    assert {name: figure.value for name, figure in found.items()} == pytest.approx(
        {"accuracy": 16 / 20, "precision": 5 / 6, "recall": 5 / 8, "f1": 2 * 5 / (6 + 8), "yes_ratio": 6 / 20}
    )
    assert [found[name].n for name in found] == [20, 6, 8, 20, 20]
    for figure in found.values():
        assert figure.low is not None and figure.high is not None and figure.low < figure.value < figure.high


def test_what_pope_cannot_say_is_left_out_with_a_note() -> None:
    scores = pope.score([("yes", "no"), ("no", "No.")])
    assert set(scores.figures) == {"accuracy", "recall", "yes_ratio"}
    assert scores.notes == ("there is no precision: no answer is yes", "there is no f1: no answer is rightly yes")
    assert "1 answers say neither" in pope.score([("yes", "a dog"), ("yes", "yes")]).notes[0]


def test_pope_answers_made_from_the_labels_are_all_right(data_folder: Path, tmp_path: Path) -> None:
    labels = [json.loads(line) for line in (data_folder / "pope/coco/coco_pope_popular.json").read_text().splitlines()]
    said = tmp_path / "mine_popular.jsonl"
    said.write_text("".join(json.dumps({"question_id": r["question_id"], "answer": r["label"]}) + "\n" for r in labels))
    (found,) = pope.BENCHMARK.score(said, data_folder / "pope")  # type: ignore[misc]
    assert {name: figure.value for name, figure in found.figures.items()} == {
        "accuracy": 1, "precision": 1, "recall": 1, "f1": 1, "yes_ratio": 0.5,
    }  # fmt: skip
    assert found.figures["accuracy"].n == 3000


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"question_id": 1, "answer": "yes"}, {"question_id": 1, "answer": "no"}], "question_id 1 occurs twice"),
        ([{"question_id": 1, "answer": None}], "answer None is no text"),
        ([{"question_id": 9, "answer": "yes"}], "no question with question_id 9"),
        ([{"answer": "yes"}], "a record has no question_id"),
        ([{"question_id": 1, "answer": "yes", "label": "maybe"}], "a label is"),
    ],
)
def test_pope_answers_that_cannot_be_counted_are_named(tmp_path: Path, rows: list[Any], told: str) -> None:
    lines(tmp_path / "coco_pope_random.json", {"question_id": 1, "label": "yes"})
    said = lines(tmp_path / "random.jsonl", *rows)
    with pytest.raises(InputError, match=rf"random\.jsonl.*{told}"):
        pope.BENCHMARK.score(said, tmp_path)  # type: ignore[misc]


def test_the_label_file_is_not_taken_for_answers(tmp_path: Path) -> None:
    path = tmp_path / "coco_pope_random.json"
    path.write_text(json.dumps({"question_id": 1, "image": "a.jpg", "text": "Is there a cat?", "label": "yes"}) + "\n")
    with pytest.raises(InputError, match="a record has no 'answer'"):
        pope.BENCHMARK.score(path, None)  # type: ignore[misc]
