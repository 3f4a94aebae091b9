"""Conversations: what was said to a vision-language model, by whom, with images anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from pathlib import Path

from PIL import Image

from davsp.errors import InputError

ImageContent = Path | bytes | Image.Image
"""An image file's path, its bytes, or an opened Pillow image."""
Part = str | ImageContent
"""A text, or an image."""


class Role(StrEnum):
    """Who says something."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, init=False)
class Message:
    """One turn of a conversation: texts and images, in order."""

    role: Role
    parts: tuple[Part, ...]

    def __init__(self, role: Role | str, parts: Part | Iterable[Part]) -> None:
        """`parts`: one or several. Raises InputError for a role that there is not."""
        try:
            object.__setattr__(self, "role", Role(role))
        except ValueError as error:
            raise InputError(f"a message is of role {role!r}, none of {', '.join(Role)}") from error
        object.__setattr__(self, "parts", (parts,) if isinstance(parts, Part) else tuple(parts))

    @property
    def text(self) -> str:
        """Its texts, one under the other."""
        return "\n".join(part for part in self.parts if isinstance(part, str))

    @property
    def images(self) -> tuple[ImageContent, ...]:
        return tuple(part for part in self.parts if not isinstance(part, str))


Messages = tuple[Message, ...]


class Conversation:
    """What holds messages: a query, a request. The question is what its last user message says."""

    messages: Messages

    @property
    def question(self) -> str:
        """The text of the last user message."""
        return self.messages[last_user(self.messages)].text

    @property
    def images(self) -> tuple[ImageContent, ...]:
        """All images, in order."""
        return tuple(image for message in self.messages for image in message.images)

    @property
    def image(self) -> ImageContent:
        """The only image. Raises InputError where there is none, or several."""
        if len(self.images) != 1:
            raise InputError(f"there are {len(self.images) or 'no'} images where one is needed.")
        return self.images[0]

    @property
    def as_text(self) -> str:
        """What was said, for a reader: of one message its text, of several each after who says it."""
        if len(self.messages) == 1:
            return self.messages[0].text
        return "\n".join(
            f"{m.role}: {' '.join(part if isinstance(part, str) else '[image]' for part in m.parts)}"
            for m in self.messages
        )

    @property
    def is_short(self) -> bool:
        """Whether it is the short form: one image, and one question after it."""
        [first, *others] = self.messages
        return (
            not others and first.role is Role.USER and [isinstance(part, str) for part in first.parts] == [False, True]
        )


def one_turn(question: str, images: Iterable[ImageContent] = ()) -> Messages:
    """The conversation of one question about images, which stand before it."""
    return (Message(Role.USER, (*images, question)),)


def check_roles(roles: Sequence[Role]) -> None:
    """Raise InputError unless a model can answer: a user asks, and the last word is not the model's own."""
    if Role.USER not in roles or roles[-1] not in (Role.USER, Role.TOOL):
        raise InputError(
            f"the conversation has the turns {', '.join(roles) or 'none'}: it needs one of a user, and ends with what "
            "the model is to answer"
        )


def last_user(messages: Sequence[Message]) -> int:
    """The place of the last user message."""
    return max(i for i, message in enumerate(messages) if message.role is Role.USER)


def with_question(messages: Messages, question: str) -> Messages:
    """With other words in the last user message, in place of its first text; its images stay."""
    return _in_last_user(messages, lambda parts: _one_text(parts, question))


def with_text_before(messages: Messages, text: str) -> Messages:
    """With a text, and a line break, before what the last user message says."""
    return _in_last_user(messages, lambda parts: _changed(parts, False, lambda said: f"{text}\n{said}"))


def with_text_after(messages: Messages, text: str, separator: str = "\n") -> Messages:
    """With a text after what the last user message says."""
    return _in_last_user(messages, lambda parts: _changed(parts, True, lambda said: f"{said}{separator}{text}"))


def with_images(
    messages: Messages, change: Callable[[int, ImageContent], ImageContent], roles: Iterable[Role] = tuple(Role)
) -> Messages:
    """With what `change` makes of each image, given its number among all, from 0, in messages of these roles."""
    numbers, chosen = count(), frozenset(roles)

    def part_of(message: Message, part: Part) -> Part:
        if isinstance(part, str):
            return part
        number = next(numbers)
        return change(number, part) if message.role in chosen else part

    return tuple(Message(m.role, [part_of(m, part) for part in m.parts]) for m in messages)


def without_images(messages: Messages) -> Messages:
    """The texts alone; a message of images alone stays, and says nothing."""
    return tuple(Message(m.role, [p for p in m.parts if isinstance(p, str)] or "") for m in messages)


def _in_last_user(messages: Messages, change: Callable[[tuple[Part, ...]], tuple[Part, ...]]) -> Messages:
    place = last_user(messages)
    changed = Message(Role.USER, change(messages[place].parts))
    return (*messages[:place], changed, *messages[place + 1 :])


def _texts(parts: Sequence[Part]) -> list[int]:
    return [i for i, part in enumerate(parts) if isinstance(part, str)]


def _one_text(parts: tuple[Part, ...], text: str) -> tuple[Part, ...]:
    first = next(iter(_texts(parts)), len(parts))
    images = [[p for p in side if not isinstance(p, str)] for side in (parts[:first], parts[first:])]
    return (*images[0], text, *images[1])


def _changed(parts: tuple[Part, ...], last: bool, change: Callable[[str], str]) -> tuple[Part, ...]:
    """With the first or the last text changed; where there is none, one after the images."""
    places = _texts(parts)
    if not places:
        return (*parts, change("").strip())
    place = places[-1 if last else 0]
    said = parts[place]
    assert isinstance(said, str)
    return (*parts[:place], change(said), *parts[place + 1 :])
