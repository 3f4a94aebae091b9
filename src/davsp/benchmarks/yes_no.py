"""Benchmarks whose answers are yes or no: their labels, and the rule for what is right."""

from __future__ import annotations

from collections.abc import Callable

from davsp.benchmarks.collector import QueryCollector
from davsp.judges.judgement import AnswerRule


def right_where(parse: Callable[[str], str]) -> AnswerRule:
    """The rule by which an answer is right that `parse` reads as its reference, in lower case."""

    def right(reference: str, answer: str) -> bool:
        return parse(answer) == reference.lower()

    return right


def right_answer(queries: QueryCollector, identifier: str, label: object) -> str | None:
    """The published label as an answer, "Yes" or "No"; None where it is neither, and the query is dropped."""
    answer = str(label).strip().capitalize()
    if answer in ("Yes", "No"):
        return answer
    queries.drop(identifier, f"the right answer is {label!r}, neither yes nor no")
    return None
