"""What a benchmark is, and how its published files become queries.

A benchmark is a record, `BENCHMARK`, in a file of its own: where it comes from, its reader, its official scores, who
grades its answers, and the figure that stands for it in tables. Entry points `davsp.benchmarks` name these records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from PIL import Image

from davsp.benchmarks.collector import QueryCollector
from davsp.benchmarks.figures import Scores
from davsp.benchmarks.grading import Grader
from davsp.data.query import Query
from davsp.data.sources import fetch_data_set
from davsp.errors import MALFORMED, InputError
from davsp.judges.judgement import AnswerRule


class Purpose(StrEnum):
    """What a benchmark measures."""

    SAFETY = "safety"
    USEFULNESS = "usefulness"
    OVER_REFUSAL = "over-refusal"


@dataclass(frozen=True)
class Hub:
    """Where a benchmark is on the Hugging Face hub.

    `revision` is the commit that is fetched; None where none is known for certain, and then nothing is fetched.
    `files` are patterns of the files needed. `gated`: its terms must be accepted on its page first.
    """

    id: str
    revision: str | None
    files: tuple[str, ...] = ()
    gated: bool = False


@dataclass(frozen=True)
class Variant:
    """A part of a benchmark that is measured by itself, and how large it was published.

    `groups` has the published number of queries of each group, where that is published. `rest` names the variant that
    is left to be measured on after training on this one.
    """

    what: str
    queries: int
    groups: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    images: int | None = None
    rest: str | None = None


@dataclass(frozen=True)
class LoadedQueries:
    """The queries of one variant.

    `dropped` has one line, with the reason, for each published query that is not among them. `notes` say where the
    counts differ from the published ones.
    """

    queries: tuple[Query, ...]
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def groups(self) -> dict[str, int]:
        """The number of queries of each group, in the order of the first of each."""
        return dict(Counter(query.group for query in self.queries))


@dataclass(frozen=True)
class BenchmarkAnswer:
    """A fresh answer to a query of a benchmark, which could be judged.

    `image` names what the query is about within its group. `marks` are the points that a grader gave, by name.
    """

    group: str
    reference: str
    text: str
    image: str = ""
    marks: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Headline:
    """The figure of the official scores that stands for a benchmark in tables, times `scale`, in this unit."""

    figure: str
    unit: str = "score"
    scale: float = 1


QueryReader = Callable[[Path, str, QueryCollector], None]
"""Reads a variant, by name, from a folder, and adds its queries."""

AnswerScorer = Callable[[Sequence[BenchmarkAnswer]], Scores]
"""The official scores of fresh answers; no figures where there are too few."""

FileScorer = Callable[[Path, Path | None], Sequence[Scores]]
"""Scores a published answer file or folder; the second path is the benchmark's own folder, where that is needed."""


@dataclass(frozen=True)
class Benchmark:
    """A published benchmark: where it comes from, its variants (the first is the usual one), and its reader.

    `right`: the rule by which an answer is right or wrong. Without one, references are texts to compare with, or to
    train on. `official`: the benchmark's own score of fresh answers. `score`: that of published ones, where it can be
    had without a model. `grader`: the language model's points for every answer that the official score needs.
    `headline`: the figure that stands for it in tables; without one it is a rate. `untrainable`: why its queries must
    not be trained on, if that is so.
    """

    name: str
    title: str
    purpose: Purpose
    source: str
    hub: Hub | None
    licence: str
    citation: str
    content: str
    variants: Mapping[str, Variant]
    read: QueryReader
    right: AnswerRule | None = None
    official: AnswerScorer | None = None
    score: FileScorer | None = None
    grader: Grader | None = None
    headline: Headline | None = None
    untrainable: str = ""

    def variant(self, name: str | None) -> tuple[str, Variant]:
        """The variant of that name, or the usual one. Raises InputError for a name that is none."""
        chosen = next(iter(self.variants)) if name is None else name
        if chosen not in self.variants:
            raise InputError(f"{self.title} has no variant {chosen!r}. Choose from {', '.join(self.variants)}.")
        return chosen, self.variants[chosen]

    def load(self, folder: Path | None = None, variant: str | None = None) -> LoadedQueries:
        """The queries of a variant, from a folder in the published layout, or without one from the hub.

        Raises InputError for an unknown variant, a folder that does not hold the benchmark, and where it cannot be
        fetched.
        """
        name, published = self.variant(variant)
        if folder is not None and not folder.is_dir():
            raise InputError(f"{folder} is no folder. Give the one that holds {self.title} ({self.source}).")
        collector = QueryCollector()
        where = self._fetch() if folder is None else folder
        try:
            self.read(where, name, collector)
        except InputError as error:
            raise InputError(f"{self.title}, {name}: {error}") from error
        except MALFORMED as error:
            raise InputError(
                f"{self.title}, {name}: {where} holds a record that is not in the published form "
                f"({type(error).__name__}: {error}). Get a fresh copy of it."
            ) from error
        queries, dropped = tuple(collector.queries), tuple(collector.dropped)
        if not queries:
            raise InputError(self._nothing(where, name, dropped))
        return LoadedQueries(queries, dropped, tuple(_differences(published, queries)))

    def _fetch(self) -> Path:
        if self.hub is None or self.hub.revision is None:
            raise InputError(
                f"{self.title} has no data set on the hub whose revision is known: give a local folder of "
                f"{self.source}."
            )
        try:
            return fetch_data_set(self.hub.id, self.hub.revision, self.hub.files)
        except InputError as error:
            terms = f" Accept its terms at huggingface.co/datasets/{self.hub.id} first." if self.hub.gated else ""
            raise InputError(f"{self.title}: {error}.{terms} Or give a local folder of {self.source}.") from error

    def _nothing(self, folder: Path, name: str, dropped: Sequence[str]) -> str:
        first = f" The first of {len(dropped)}: {dropped[0]}." if dropped else ""
        archives = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.zip"))
        unpack = f" Unpack {', '.join(archives)} there." if archives else ""
        return f"{folder} holds no usable query of {self.title}, {name}.{first}{unpack} It comes from {self.source}."


def _differences(published: Variant, queries: Sequence[Query]) -> Iterator[str]:
    """One line for each count that is not the published one."""
    if len(queries) != published.queries:
        yield f"{len(queries)} of {published.queries} queries"
    images = len({_identity(query.image) for query in queries})
    if published.images is not None and images != published.images:
        yield f"{images} of {published.images} images"
    counts = Counter(query.group for query in queries)
    for group, count in published.groups.items():
        if counts[group] != count:
            yield f"{group}: {counts[group]} of {count} queries"
    if published.groups:
        for group in counts.keys() - published.groups.keys():
            yield f"{group}: {counts[group]} queries of a group that was not published"


def _identity(image: Path | bytes | Image.Image) -> Hashable:
    return id(image) if isinstance(image, Image.Image) else image
