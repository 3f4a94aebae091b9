"""Conversations in the forms of others: those that chat models are trained on are read, OpenAI's is written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from davsp.data.conversation import Message, Messages, Role, check_roles
from davsp.errors import InputError
from davsp.imaging.data_uris import png_uri
from davsp.imaging.opening import open_image

_ROLES = {
    "human": Role.USER,
    "user": Role.USER,
    "gpt": Role.ASSISTANT,
    "assistant": Role.ASSISTANT,
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "tool": Role.TOOL,
}
_PLACEHOLDER = re.compile(r"[ \t]*<image>[ \t]*\n?")
_IMAGE_PARTS = ("image", "image_url", "input_image")
_TEXT_PARTS = ("text", "input_text", "output_text")
_CALLS = ("tool_calls", "function_call")


@dataclass(frozen=True)
class RawImage:
    """An image as a record has it; None where its place alone is marked."""

    value: Any


@dataclass(frozen=True)
class RawTurn:
    """A turn as a record has it."""

    role: Role
    parts: list[str | RawImage] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(part for part in self.parts if isinstance(part, str))


def read_turns(record: Mapping[str, Any]) -> tuple[dict[str, Any], list[RawTurn]]:
    """The record's plain columns, and the turns of its conversation; [] where it is one question about one image.

    Read are turns with `role` and `content` (OpenAI's, and those of most training libraries) or `from` and `value`
    (LLaVA's), their content a text or a list of parts; images stand in parts, or in `images` or `image`, where
    `<image>` in a user's text, or a part without an image, marks their place. Those without a place stand before what
    the user says first. An assistant's turn at the end is the column `answer`. Of one question about one image there
    are the columns `question` and `image`. Raises InputError for what is no conversation that a model could answer.
    """
    columns = dict(record)
    turns = next((columns.pop(name) for name in ("messages", "conversations") if name in record), None)
    images = [*_listed(columns.pop("images", None)), *_listed(columns.get("image"))]
    if turns is None:
        if "images" in record or isinstance(record.get("image"), list | tuple):
            columns["image"] = images[0] if len(images) == 1 else images
        return columns, []
    read = [read_turn(turn) for turn in _listed(turns)]
    answer = read.pop().text if read and read[-1].role is Role.ASSISTANT else ""
    check_roles([turn.role for turn in read])
    if answer:
        columns["answer"] = answer
    in_parts = [part.value for turn in read for part in turn.parts if isinstance(part, RawImage)]
    shown = [*images, *(value for value in in_parts if value is not None)]
    if len(read) == len(shown) == 1:
        columns |= {"question": _PLACEHOLDER.sub("", read[0].text, count=1), "image": shown[0]}
        return columns, []
    columns.pop("image", None)
    return columns, _with_images(read, images)


def read_turn(turn: Any) -> RawTurn:
    """One turn as it stands there. Raises InputError for what is no turn, or says more than texts and images."""
    if not isinstance(turn, Mapping):
        raise InputError(f"a turn of the conversation is no object but {type(turn).__name__}")
    name = turn.get("role", turn.get("from"))
    role = _ROLES.get(str(name).lower())
    if role is None:
        raise InputError(f"a turn of the conversation is of role {name!r}, none of {', '.join(_ROLES)}")
    if any(turn.get(calls) for calls in _CALLS):
        raise InputError("a turn of the conversation calls tools, and only what is said is read")
    return RawTurn(role, _parts(turn.get("content", turn.get("value"))))


def as_openai(messages: Messages) -> list[dict[str, Any]]:
    """A conversation as OpenAI's API takes it: texts, and images as PNG data URIs, of which nothing is lost. Raises
    InputError for an image that is not usable."""
    return [{"role": message.role.value, "content": _content(message)} for message in messages]


def _content(message: Message) -> Any:
    if not message.images:
        return message.text
    return [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": png_uri(open_image(part))}}
        for part in message.parts
    ]


def _with_images(turns: Sequence[RawTurn], images: list[Any]) -> list[RawTurn]:
    """The turns with their places filled by `images`, in order; what is left of these comes first."""
    left = list(images)
    filled = [RawTurn(turn.role, [p for part in turn.parts for p in _placed(turn, part, left)]) for turn in turns]
    first = next(turn for turn in filled if turn.role is Role.USER)
    first.parts[:0] = map(RawImage, left)
    return filled


def _placed(turn: RawTurn, part: str | RawImage, left: list[Any]) -> list[str | RawImage]:
    if isinstance(part, RawImage):
        if part.value is None and not left:
            raise InputError("a part of a turn marks the place of an image, and there is none for it")
        return [part if part.value is not None else RawImage(left.pop(0))]
    if turn.role is not Role.USER or not left:
        return [part]
    texts = _PLACEHOLDER.split(part, maxsplit=len(left))
    placed: list[str | RawImage] = [texts[0]]
    for text in texts[1:]:
        placed += [RawImage(left.pop(0)), text]
    return [p for p in placed if p != ""]


def _listed(value: Any) -> list[Any]:
    """None is no image, a list may hold several, anything else is one."""
    if value is None:
        return []
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]


def _parts(content: Any) -> list[str | RawImage]:
    if content is None or isinstance(content, str):
        return [content or ""]
    parts: list[str | RawImage] = []
    for part in _listed(content):
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        if isinstance(part, str):
            parts.append(part)
        elif kind in _TEXT_PARTS:
            parts.append(str(part.get("text") or ""))
        elif kind in _IMAGE_PARTS:
            parts += map(RawImage, _listed(_image_of(part)) or [None])
        else:
            raise InputError(f"a part of a turn is of type {kind!r}: texts and images are read")
    return parts


def _image_of(part: Mapping[str, Any]) -> Any:
    """The image of a part; None where the part only marks the place of one."""
    value = next((part[name] for name in ("image_url", "image", "url", "path") if part.get(name) is not None), None)
    if isinstance(value, Mapping) and "url" in value:
        value = value["url"]
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        raise InputError(f"the image is an address, {value[:80]}, and nothing is fetched: give the image itself")
    return value
