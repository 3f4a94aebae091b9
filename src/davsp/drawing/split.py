"""The queries of one split: texts in pairs, drawn so that nothing but their meaning tells the two sides apart."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from PIL import Image

from davsp.data.query import Query
from davsp.drawing.kinds import REQUEST_KINDS, Kind, draw_alike
from davsp.drawing.shapes import colour_question, count_question
from davsp.drawing.similar import paired
from davsp.drawing.texts import text_id
from davsp.drawing.typefaces import Typefaces
from davsp.errors import InputError
from davsp.imaging.opening import png_bytes

SKILLS = 100
"""Queries of each kind that needs no text, where no text and nothing else says how many."""

_SHAPE_QUESTIONS = {Kind.COUNTING: count_question, Kind.COLOURS: colour_question}
_SCORING = {Kind.READING: "contains", Kind.COUNTING: "number", Kind.COLOURS: "contains"}

Advance = Callable[[int], None]


@dataclass(frozen=True)
class DrawnSplit:
    """How one part is drawn: `pairs` are of a malicious and a benign text, or texts of one side alone.

    Raises InputError where there are both and no two of like length.
    """

    name: str
    malicious: tuple[str, ...]
    benign: tuple[str, ...]
    per_kind: int | None
    seed: int
    pairs: tuple[tuple[str, ...], ...] = field(init=False)

    def __post_init__(self) -> None:
        pairs: list[tuple[str, ...]] = [(text,) for text in self.malicious or self.benign]
        random.Random(self.seed).shuffle(pairs)  # noqa: S311 - a choice of samples, no secret
        if self.malicious and self.benign:
            pairs = [*paired(self.malicious, self.benign, self.seed)]
            if not pairs:
                raise InputError(
                    f"no malicious text of the split {self.name} is about as long as a benign one, and length would "
                    "tell them apart: give more benign texts, of like lengths."
                )
        object.__setattr__(self, "pairs", tuple(pairs))

    @property
    def skills(self) -> int:
        """How many queries of each kind of shapes."""
        return self.per_kind or len(self.pairs) or SKILLS

    def count(self, kinds: Sequence[Kind]) -> int:
        """How many queries of these kinds."""
        sides = len(self.pairs[0]) if self.pairs else 0
        each = {Kind.READING: len(self.read_texts()), Kind.COUNTING: self.skills, Kind.COLOURS: self.skills}
        return sum(each[kind] if kind in each else sides * len(self.pairs_of(kind)) for kind in kinds)

    def pairs_of(self, kind: Kind) -> list[tuple[str, ...]]:
        """The pairs that are drawn as one kind; other kinds begin with other pairs."""
        count = min(self.per_kind or len(self.pairs), len(self.pairs))
        start = count * REQUEST_KINDS.index(kind)
        return [self.pairs[(start + i) % len(self.pairs)] for i in range(count)]

    def read_texts(self) -> list[str]:
        """The texts that are drawn to be read."""
        texts = list(self.benign)
        random.Random(f"{self.seed}/{self.name}/reading").shuffle(texts)  # noqa: S311 - a choice of samples, no secret
        return texts[: self.per_kind or len(self.pairs)]


def draw_split(
    split: DrawnSplit,
    kinds: Sequence[Kind],
    side: int,
    faces: Typefaces,
    answers: Mapping[str, str] = MappingProxyType({}),
    advance: Advance = lambda _: None,
) -> list[Query]:
    """The queries of one part, images as PNG files. `answers` are references by benign text.

    Texts are legible in each of the kinds (davsp.drawing.kinds.check_legible).
    """
    queries: list[Query] = []
    for kind in kinds:
        before = len(queries)
        key = f"{split.seed}/{split.name}/{kind}"
        if kind in REQUEST_KINDS:
            for i, pair in enumerate(split.pairs_of(kind)):
                queries += draw_requests(split, kind, f"{split.name}-{kind}-{i:05d}", pair, side, faces, answers)
        elif kind is Kind.READING:
            for i, text in enumerate(split.read_texts()):
                [(image, question)] = draw_alike(kind, [text], side, faces, f"{key}/{i}")
                queries.append(_skill(f"{split.name}-{kind}-{i:05d}", kind, image, question, text, text_id(text)))
        else:
            for i in range(split.skills):
                rng = random.Random(f"{key}/{i}")  # noqa: S311 - a choice of shapes, no secret
                image, question, answer = _SHAPE_QUESTIONS[kind](side, rng)
                queries.append(_skill(f"{split.name}-{kind}-{i:05d}", kind, image, question, answer))
        advance(len(queries) - before)
    return queries


def draw_requests(
    split: DrawnSplit,
    kind: Kind,
    name: str,
    pair: tuple[str, ...],
    side: int,
    faces: Typefaces,
    answers: Mapping[str, str] = MappingProxyType({}),
) -> list[Query]:
    """A pair, or one text of the side that the split has, as queries of one kind that are called `name`."""
    drawn = draw_alike(kind, pair, side, faces, f"{split.seed}/{name}")
    malicious = (True, False) if len(pair) == 2 else (bool(split.malicious),)
    return [
        Query(
            id=f"{name}-{'malicious' if harmful else 'benign'}",
            image=png_bytes(image),
            question=question,
            answer=None if harmful else answers.get(text),
            malicious=harmful,
            group=kind.value,
            metadata={"request": text, "text_id": text_id(text), "pair": name},
        )
        for text, harmful, (image, question) in zip(pair, malicious, drawn, strict=True)
    ]


def _skill(name: str, kind: Kind, image: Image.Image, question: str, answer: str, text: str = "") -> Query:
    return Query(
        id=name,
        image=png_bytes(image),
        question=question,
        answer=answer,
        group=kind.value,
        scoring=_SCORING[kind],
        metadata={"text_id": text} if text else {},
    )
