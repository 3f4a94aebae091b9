"""Queries: what a user sends to a vision-language model."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from PIL import Image

from davsp.data.conversation import (
    Conversation,
    ImageContent,
    Message,
    Messages,
    check_roles,
    one_turn,
    with_images,
    with_question,
    with_text_before,
)
from davsp.errors import InputError

REQUEST, REFERENCE = "request", "reference_answer"
"""The metadata of a query that hold the request which its image shows, and a reference that no answer is compared with.
"""
ImageSource = Path | str | bytes | Image.Image
"""A path, the bytes of an image file, or an opened Pillow image."""


@dataclass(frozen=True, init=False)
class Query(Conversation):
    """What a user sends to a vision-language model (VLM): a conversation, most often one question about one image.

    `answer` is the reference answer, where one is known; `<OR>` in it separates several (davsp.data.references).
    `scoring` names the rule by which an answer is compared with it (davsp.judges.scoring); where it is empty, an
    evaluation says. `group` names the kind of query; rates are reported by group.
    """

    id: str
    messages: Messages
    answer: str | None
    malicious: bool
    group: str
    metadata: Mapping[str, str]
    scoring: str

    def __init__(
        self,
        id: str,
        image: ImageContent | Sequence[ImageContent] | None = None,
        question: str | None = None,
        answer: str | None = None,
        malicious: bool = False,
        group: str = "",
        metadata: Mapping[str, str] = MappingProxyType({}),
        scoring: str = "",
        messages: Sequence[Message] = (),
    ) -> None:
        """`image` and `question` are the short form of a conversation of one message: the question stands after the
        image, or several images, or none. Beside `messages` they take the place of the images there, and of the words
        of the last user message, so that dataclasses.replace works with them.

        Raises InputError for a conversation that no model can answer.
        """
        images = () if image is None else (image,) if isinstance(image, ImageContent) else tuple(image)
        try:
            if messages:
                check_roles([message.role for message in messages])
        except InputError as error:
            raise InputError(f"query {id}: {error}") from error
        said = tuple(messages) or one_turn(question or "", images)
        if messages and question is not None:
            said = with_question(said, question)
        if messages and image is not None:
            said = _showing(said, images, f"query {id}")
        fields = {
            "id": id,
            "messages": said,
            "answer": answer,
            "malicious": malicious,
            "group": group,
            "metadata": metadata,
            "scoring": scoring,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def image(self) -> ImageContent:
        """The only image. Raises InputError where there is none, or several."""
        try:
            return super().image
        except InputError as error:
            raise InputError(f"query {self.id}: {error}") from error

    def saying(self, messages: Messages) -> Query:
        """The same query, of another conversation."""
        return replace(self, messages=messages)

    def with_question(self, question: str) -> Query:
        """The same query in other words: those of its last user message."""
        return self.saying(with_question(self.messages, question))

    def with_image(self, *images: ImageContent) -> Query:
        """The same query about other images, as many as it has. Raises InputError for another number."""
        return self.saying(_showing(self.messages, images, f"query {self.id}"))

    def with_prefix(self, prefix: str) -> Query:
        """The same query with a text before the question, if there is one."""
        return self.saying(with_text_before(self.messages, prefix)) if prefix else self

    @property
    def kind(self) -> str:
        """What its group and those that are like it but for their harm share: the group's name after any slash."""
        return self.group.rpartition("/")[2]

    def as_record(self, image: str) -> dict[str, str | bool | None]:
        """Its own columns in a file of queries, as one question about the image at a path: what `read_queries` reads.
        The metadata are columns beside these."""
        return {
            "id": self.id,
            "image": image,
            "question": self.question,
            "answer": self.answer,
            "malicious": self.malicious,
            "group": self.group,
            "scoring": self.scoring,
        }

    def without_answer(self) -> Query:
        """The same query, to the answers of which no reference is compared: it stands in the metadata, REFERENCE."""
        if self.answer is None:
            return self
        return replace(self, answer=None, scoring="", metadata={**self.metadata, REFERENCE: self.answer})


def split_queries(queries: Sequence[Query], share: float, seed: int) -> tuple[list[Query], list[Query]]:
    """Two parts that share no query and no request, in order: the second has `share` of each group, at least one.

    Of a request that several groups have, all queries are in one part. Raises InputError for a group of a single query,
    which cannot be in both.
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
        left = [query for query in members if request_key(query) not in held_out]
        missing = max(1, round(share * len(members))) - (len(members) - len(left))
        held_out |= {request_key(query) for query in rng.sample(left, max(0, missing))}
    return (
        [query for query in queries if request_key(query) not in held_out],
        [query for query in queries if request_key(query) in held_out],
    )


def request_key(query: Query) -> str:
    """By which queries that ask for the same are known: the request; where that is not told, the query's id."""
    return query.metadata.get(REQUEST) or query.id


def check_unique(what: str, names: Sequence[str]) -> None:
    """Raise InputError for the first name that occurs twice. `what` says what they name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"The {what} {name!r} occurs twice. Rename one of the two.")
        seen.add(name)


def _showing(messages: Messages, images: Sequence[ImageContent], where: str) -> Messages:
    there = sum(len(message.images) for message in messages)
    if there != len(images):
        raise InputError(f"{where}: it has {there} images, and {len(images)} are to take their place.")
    return with_images(messages, lambda number, _: images[number])


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
