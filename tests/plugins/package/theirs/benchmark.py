"""A benchmark in one file: its reader, its rule, its official score and the figure that stands for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from davsp.benchmarks.base import Benchmark, BenchmarkAnswer, Headline, Purpose, Variant
from davsp.benchmarks.collector import QueryCollector, white_image
from davsp.benchmarks.figures import Scores
from davsp.benchmarks.reading import locate, records
from davsp.rates import Figure


def _read(folder: Path, variant: str, queries: QueryCollector) -> None:
    for record in records(locate(folder, f"{variant}.jsonl"), "id", "question", "word"):
        queries.add(
            record["id"], white_image(), record["question"], answer=record["word"], malicious=False, group="words"
        )


def _right(reference: str, answer: str) -> bool:
    return reference in answer.split()


def _official(answers: Sequence[BenchmarkAnswer]) -> Scores:
    right = sum(_right(answer.reference, answer.text) for answer in answers)
    return Scores("", {"words": Figure.share(right, len(answers))} if answers else {}, decimals=2)


BENCHMARK = Benchmark(
    name="theirs",
    title="Their words",
    purpose=Purpose.USEFULNESS,
    source="their own disk",
    hub=None,
    licence="CC0",
    citation="They, Words, 2026",
    content="Harmless.",
    variants={"all": Variant("all questions", 3, {"words": 3})},
    read=_read,
    right=_right,
    official=_official,
    headline=Headline("words", "words, %", scale=100),
)
