"""One variant of a benchmark, loaded and made ready to be asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from davsp.benchmarks import BENCHMARKS
from davsp.benchmarks.base import Benchmark, LoadedQueries
from davsp.data.query import Query
from davsp.results import BenchmarkFacts


def divided(text: str) -> tuple[str, str | None, Path | None]:
    """Name, variant and folder of NAME, NAME:VARIANT, NAME=FOLDER or NAME:VARIANT=FOLDER."""
    which, _, folder = text.partition("=")
    name, _, variant = which.partition(":")
    return name, variant or None, Path(folder) if folder else None


@dataclass(frozen=True)
class BenchmarkSelection:
    """A benchmark, the name of one of its variants, and that variant's queries."""

    benchmark: Benchmark
    variant: str
    loaded: LoadedQueries

    @classmethod
    def of(cls, name: str, folder: Path | None = None, variant: str | None = None) -> Self:
        """Load it, from a folder or the hub. Raises InputError as `davsp.benchmarks.load` does."""
        benchmark = BENCHMARKS.get(name)
        chosen, _ = benchmark.variant(variant)
        return cls(benchmark, chosen, benchmark.load(folder, chosen))

    @classmethod
    def named(cls, text: str) -> Self:
        """The one that NAME, NAME:VARIANT, NAME=FOLDER or NAME:VARIANT=FOLDER stands for. Raises InputError."""
        name, variant, folder = divided(text)
        return cls.of(name, folder, variant)

    @property
    def key(self) -> str:
        """What its results are filed under: `mm_safetybench-SD_TYPO`."""
        return f"{self.benchmark.name}-{self.variant}"

    @property
    def title(self) -> str:
        return f"{self.benchmark.title}, {self.variant}"

    @property
    def published(self) -> int:
        return self.benchmark.variants[self.variant].queries

    @property
    def queries(self) -> Sequence[Query]:
        """The queries as they are asked: references that are no answers to be equalled are metadata, `reference`."""
        if self.benchmark.right:
            return self.loaded.queries
        return [query.without_answer() for query in self.loaded.queries]

    def remarks(self) -> Iterator[str]:
        """What a user must know of it before a run: what was dropped, and which counts are not the published ones."""
        if dropped := self.loaded.dropped:
            yield f"{self.title}: {len(dropped)} queries dropped, the first: {dropped[0]}"
        if notes := self.loaded.notes:
            yield f"{self.title}: {len(notes)} counts are not the published ones, the first: {notes[0]}"

    @property
    def facts(self) -> BenchmarkFacts:
        """What results.json says of it."""
        return BenchmarkFacts(
            name=self.benchmark.name,
            title=self.benchmark.title,
            variant=self.variant,
            purpose=self.benchmark.purpose.value,
            licence=self.benchmark.licence,
            citation=self.benchmark.citation,
            content=self.benchmark.content,
            published=self.published,
            dropped=self.loaded.dropped,
            notes=self.loaded.notes,
        )
