"""What a benchmark is, and how its published files become queries."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image

from davsp.benchmarks.figures import Scores
from davsp.data.query import Query, check_question
from davsp.data.records import read_records
from davsp.data.sources import fetch_data_set
from davsp.errors import MALFORMED, InputError
from davsp.judges.judgement import Right

TEXT_ONLY_SIDE = 336
"""Side in pixels of the white image that goes with a prompt that is published without one."""

IMAGE_SUFFIXES = (".jpg", ".png", ".jpeg", ".webp", ".JPG", ".PNG", ".JPEG")
_LFS_POINTER = b"version https://git-lfs"


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

    `groups` has the published number of queries of each group, where that is published.
    """

    what: str
    queries: int
    groups: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    images: int | None = None


@dataclass(frozen=True)
class Loaded:
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


Read = Callable[[Path, str, "QueryCollector"], None]
"""Reads a variant, by name, from a folder, and adds its queries."""

Official = Callable[[Sequence[BenchmarkAnswer]], Scores]
"""The official scores of fresh answers; no figures where there are too few."""

Score = Callable[[Path, Path | None], Sequence[Scores]]
"""Scores a published answer file or folder; the second path is the benchmark's own folder, where that is needed."""


@dataclass(frozen=True)
class Benchmark:
    """A published benchmark: where it comes from, its variants (the first is the usual one), and its reader.

    `right`: the rule by which an answer is right or wrong. Without one, references are texts to compare with, or to
    train on. `official`: the benchmark's own score of fresh answers. `score`: that of published ones, where it can be
    had without a model. `graded`: the official score needs a language model's points for every answer.
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
    read: Read
    right: Right | None = None
    official: Official | None = None
    graded: bool = False
    score: Score | None = None

    def variant(self, name: str | None) -> tuple[str, Variant]:
        """The variant of that name, or the usual one. Raises InputError for a name that is none."""
        chosen = next(iter(self.variants)) if name is None else name
        if chosen not in self.variants:
            raise InputError(f"{self.title} has no variant {chosen!r}. Choose from {', '.join(self.variants)}.")
        return chosen, self.variants[chosen]

    def load(self, folder: Path | None = None, variant: str | None = None) -> Loaded:
        """The queries of a variant, from a folder in the published layout, or without one from the hub.

        Raises InputError for an unknown variant, a folder that does not hold the benchmark, and where it cannot be
        fetched.
        """
        name, published = self.variant(variant)
        if folder is not None and not folder.is_dir():
            raise InputError(f"{folder} is no folder. Give the one that holds {self.title} ({self.source}).")
        found = QueryCollector()
        where = self._fetch() if folder is None else folder
        try:
            self.read(where, name, found)
        except InputError as error:
            raise InputError(f"{self.title}, {name}: {error}") from error
        except MALFORMED as error:
            raise InputError(
                f"{self.title}, {name}: {where} holds a record that is not in the published form "
                f"({type(error).__name__}: {error}). Get a fresh copy of it."
            ) from error
        if not found.queries:
            raise InputError(self._nothing(where, name, found))
        return Loaded(tuple(found.queries), tuple(found.dropped), tuple(_differences(published, found.queries)))

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

    def _nothing(self, folder: Path, name: str, found: QueryCollector) -> str:
        first = f" The first of {len(found.dropped)}: {found.dropped[0]}." if found.dropped else ""
        archives = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.zip"))
        unpack = f" Unpack {', '.join(archives)} there." if archives else ""
        return f"{folder} holds no usable query of {self.title}, {name}.{first}{unpack} It comes from {self.source}."


@dataclass
class QueryCollector:
    """Queries as they are found, and one line for each that is left out."""

    queries: list[Query] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    _ids: set[str] = field(default_factory=set)

    def add(
        self,
        identifier: str,
        image: Path | bytes | Image.Image,
        question: str,
        *,
        malicious: bool,
        group: str,
        answer: str | None = None,
        **metadata: str,
    ) -> None:
        """Add a query, or say why it is dropped. A further query of the same id gets a number: `id#2`."""
        problem = missing(image)
        if problem is None and not isinstance(question, str):
            problem = f"the question is {question!r}, which is no text"
        if problem is None:
            try:
                check_question(question, identifier)
            except InputError as error:
                problem = str(error).removeprefix(f"{identifier}: ")
        if problem is not None:
            self.drop(identifier, problem)
            return
        unique, number = identifier, 2
        while unique in self._ids:
            unique, number = f"{identifier}#{number}", number + 1
        self._ids.add(unique)
        self.queries.append(Query(unique, image, question, answer, malicious, group, metadata))

    def drop(self, identifier: str, why: str) -> None:
        """Leave a published query out."""
        self.dropped.append(f"{identifier}: {why}")


def missing(image: object) -> str | None:
    """What is wrong with an image: none at all, or a file that is absent, empty, or the pointer to one that was not
    downloaded."""
    if not image or not isinstance(image, Path):
        return None if image and isinstance(image, bytes | Image.Image) else "there is no image"
    if not image.is_file():
        return f"no image {image}"
    with image.open("rb") as stream:
        start = stream.read(len(_LFS_POINTER))
    if not start:
        return f"image {image} is empty"
    return f"image {image} is a Git LFS pointer: run `git lfs pull` there" if start == _LFS_POINTER else None


def locate(folder: Path, *names: str) -> Path:
    """The first of some paths in a folder that is there. Raises InputError, naming what was looked for."""
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise InputError(f"{folder} holds none of {', '.join(names)}. Is it the right folder, and downloaded as a whole?")


def image_named(folder: Path, stem: str) -> Path:
    """The image file of that name with any usual suffix; where there is none, the path of the first."""
    paths = [folder / f"{stem}{suffix}" for suffix in IMAGE_SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])


def records(path: Path, *needed: str) -> Iterator[dict[str, Any]]:
    """The records of a file. Raises InputError for one that is damaged or lacks a column that is `needed`."""
    for where, record in read_records(path):
        if isinstance(record, str):
            raise InputError(f"{path}, {where}: {record}. Get a fresh copy of it.")
        if lacking := [name for name in needed if name not in record]:
            raise InputError(f"{path}, {where}: no {', '.join(lacking)} among {', '.join(record)}.")
        yield record


def each_file(files: Sequence[Path], scored: Callable[[Path], Scores]) -> list[Scores]:
    """The scores of each file. Raises InputError, naming the file, for one that cannot be scored."""
    found = []
    for file in files:
        try:
            found.append(scored(file))
        except InputError as error:
            raise error if str(file) in str(error) else InputError(f"{file}: {error}") from error
        except MALFORMED as error:
            raise InputError(f"{file} is not in the published form ({type(error).__name__}: {error}).") from error
    return found


def shards(folder: Path, pattern: str) -> list[Path]:
    """The Parquet files of a data set of the hub, in order; none where it is laid out in another way."""
    return sorted(folder.glob(pattern))


def hub_records(files: Sequence[Path], *needed: str) -> Iterator[dict[str, Any]]:
    """The records of Parquet files. Images with the same bytes are held once."""
    held: dict[Hashable, bytes] = {}
    for path in files:
        for record in records(path, *needed):
            yield {name: _bytes_of(value, held) for name, value in record.items()}


def _bytes_of(value: Any, held: dict[Hashable, bytes]) -> Any:
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        return held.setdefault(value["bytes"], value["bytes"])
    return value


@cache
def white_image() -> Image.Image:
    """The plain white image that goes with a prompt that is published without one."""
    return Image.new("RGB", (TEXT_ONLY_SIDE, TEXT_ONLY_SIDE), "white")


def draw(names: Sequence[str], count: int) -> set[str]:
    """A choice of so many names that is always the same."""
    return set(random.Random(0).sample(sorted(names), count))  # noqa: S311 - a choice of samples, no secret


def shown(question: str, image: str | None) -> dict[str, str]:
    """What a judge reads as the request, where the words of a published set say what is in the image."""
    return {"request": f"{question}\n[The image shows: {image}]"} if image else {}


def _differences(published: Variant, queries: Sequence[Query]) -> Iterator[str]:
    """One line for each count that is not the published one."""
    if len(queries) != published.queries:
        yield f"{len(queries)} of {published.queries} queries"
    images = len({_identity(query.image) for query in queries})
    if published.images is not None and images != published.images:
        yield f"{images} of {published.images} images"
    found = Counter(query.group for query in queries)
    for group, count in published.groups.items():
        if found[group] != count:
            yield f"{group}: {found[group]} of {count} queries"
    if published.groups:
        for group in found.keys() - published.groups.keys():
            yield f"{group}: {found[group]} queries of a group that was not published"


def _identity(image: Path | bytes | Image.Image) -> Hashable:
    return id(image) if isinstance(image, Image.Image) else image
