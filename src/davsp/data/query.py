"""Queries: what a user sends to a vision-language model."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from PIL import Image

from davsp.errors import InputError

ImageSource = Path | str | bytes | Image.Image
"""A path, the bytes of an image file, or an opened Pillow image."""


@dataclass(frozen=True)
class Query:
    """One image and one question for a vision-language model (VLM).

    `image` is a path, the bytes of an image file, or an opened Pillow image. `answer` is the reference
    answer, where one is known; `<OR>` in it separates several (davsp.data.references). `scoring` names the rule by
    which an answer is compared with it (davsp.judges.scoring); where it is empty, an evaluation says. `group` names the
    kind of query; rates are reported by group.
    """

    id: str
    image: Path | bytes | Image.Image
    question: str
    answer: str | None = None
    malicious: bool = False
    group: str = ""
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    scoring: str = ""

    @property
    def kind(self) -> str:
        """What its group and those that are like it but for their harm share: the group's name after any slash."""
        return self.group.rpartition("/")[2]

    def without_answer(self) -> Query:
        """The same query, to the answers of which no reference is compared: it stands in the metadata, `reference`."""
        if self.answer is None:
            return self
        return replace(self, answer=None, scoring="", metadata={**self.metadata, "reference": self.answer})


def split_queries(queries: Sequence[Query], share: float, seed: int) -> tuple[list[Query], list[Query]]:
    """Two parts that share no query, in order: the second has `share` of each group, at least one.

    Raises InputError for a group of a single query, which cannot be in both.
    """
    groups: dict[tuple[bool, str], list[Query]] = {}
    for query in queries:
        groups.setdefault((query.malicious, query.group), []).append(query)
    held_out: set[str] = set()
    rng = random.Random(seed)  # noqa: S311 - a choice of samples, no secret
    for (_, group), members in groups.items():
        if len(members) < 2:
            raise InputError(
                f"group {group!r} has a single query ({members[0].id!r}), which cannot be held out: "
                "give validation queries of their own, or more of this group."
            )
        held_out |= {q.id for q in rng.sample(members, max(1, round(share * len(members))))}
    return [q for q in queries if q.id not in held_out], [q for q in queries if q.id in held_out]


def check_question(text: str, where: str) -> None:
    """Raise InputError, naming `where`, for a question that is empty or that no model can be asked."""
    if not text.strip():
        raise InputError(f"{where}: the question is empty")
    check_unicode(text, f"{where}: the question")


def check_unicode(text: str, what: str) -> None:
    """Raise InputError, naming `what`, for a text with half a surrogate pair, which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{what} is not valid Unicode at character {error.start + 1}") from error
