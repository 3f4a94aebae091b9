"""LLaVA-Bench: reviews, and the relative score of published ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from davsp.benchmarks import llava_bench
from davsp.benchmarks.grading import GradedAnswer
from davsp.errors import InputError
from tests.benchmarks.folders import lines


@pytest.mark.parametrize(
    ("reply", "review"),
    [
        ("8 7\nThe first is better.", (8, 7)),
        ("8.5 10", (8.5, 10)),
        ("8, 7", (8, 7)),
        ("11 7", None),
        ("0 7", None),
        ("8", None),
        ("Scores: 8 7", None),
        ("Both are good.\n8 7", None),
    ],
)
def test_a_review_begins_with_two_scores(reply: str, review: Any) -> None:
    assert llava_bench.parse_review(reply) == review


def test_a_review_prompt_holds_the_reference_first() -> None:
    text = llava_bench.GRADER.prompt(GradedAnswer("what?", "the reference", "the answer", "a cat"))[1].text
    assert text.index("a cat") < text.index("the reference") < text.index("the answer")


def test_llava_bench_divides_the_rounded_means() -> None:
    found = llava_bench.score([("llava_bench_conv", 9, 6), ("llava_bench_conv", 9, 7), ("llava_bench_detail", 8, 8)])
    assert found.figures["conv"].value == pytest.approx(6.5 / 9 * 100)
    assert found.figures["all"].value == 7 / 8.667 * 100
    assert found.figures["all"].n == 3
    assert found.notes == ("3 of 60 reviews",)


def test_a_review_that_was_not_understood_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"category": "llava_bench_conv", "tuple": [-1, -1]}) + "\n")
    with pytest.raises(InputError, match=r"review 1: points \[-1, -1\] are no grades"):
        llava_bench.read_reviews(path)


@pytest.mark.parametrize("points", [[0.0001, 2], [True, 2], [1e400, 2], [float("nan"), 2]])
def test_points_that_are_no_grades_are_named(tmp_path: Path, points: list[float]) -> None:
    with pytest.raises(InputError, match="review 1"):
        llava_bench.read_reviews(lines(tmp_path / "a.jsonl", {"tuple": points}))


def test_one_review_has_no_interval(tmp_path: Path) -> None:
    scores = llava_bench.score(llava_bench.read_reviews(lines(tmp_path / "a.jsonl", {"tuple": [8, 6]})))
    found = scores.figures["all"]
    assert (list(scores.figures), found.value, found.n, found.low) == (["all"], 75.0, 1, None)


@pytest.mark.parametrize(
    ("model", "each", "published"),
    [("7b", [64.7, 65.3, 66.3], 65.4), ("13b", [72.8, 72.7, 72.1], 72.5)],
)
def test_llava_bench_scores_are_those_of_llava_1_5s_table(
    data_folder: Path, model: str, each: list[float], published: float
) -> None:
    reviews = data_folder / "llava_eval" / "llava-bench-in-the-wild" / "reviews"
    found = [
        llava_bench.score(llava_bench.read_reviews(reviews / f"llava-v1.5-{model}-eval{i}.jsonl")) for i in (1, 2, 3)
    ]
    assert [scores.printed("all") for scores in found] == each
    assert round(sum(each) / 3, 1) == published  # the table has the mean of the printed scores
    assert [found[0].figures[c].n for c in ("conv", "detail", "complex")] == [17, 15, 28]
