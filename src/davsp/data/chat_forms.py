"""Records in the forms that chat models are trained on: `messages`, `conversations` and `images`, as plain columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from davsp.errors import InputError

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_PLACEHOLDER = re.compile(r"[ \t]*<image>[ \t]*\n?")
_IMAGE_PARTS = ("image", "image_url", "input_image")
_TEXT_PARTS = ("text", "input_text", "output_text")


def to_columns(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with `image`, `question` and `answer` instead of chat turns and lists of images; others stay as they
    are.

    Read are turns with `role` and `content` (OpenAI's, and those of most training libraries) or `from` and `value`
    (LLaVA's), their content a text or a list of parts; images stand in parts, or in `images` or `image`, where
    `<image>` marks their place in a text. A system turn stands before the question. Raises InputError for anything
    but one question about one image, with at most one answer.
    """
    columns = dict(record)
    turns = next((columns.pop(name) for name in ("messages", "conversations") if name in record), None)
    images = [*_listed(columns.pop("images", None)), *_listed(columns.get("image"))]
    if turns is not None:
        texts = _texts_by_role(turns, images)
        question = _PLACEHOLDER.sub("", texts["user"], count=len(images)) if images else texts["user"]
        columns["question"] = f"{texts['system']}\n{question}" if texts["system"] else question
        if texts["assistant"]:
            columns["answer"] = texts["assistant"]
    if len(images) > 1:
        raise InputError(f"there are {len(images)} images, and a query has one")
    if images:
        columns["image"] = images[0]
    return columns


def _listed(value: Any) -> list[Any]:
    """None is no image, a list may hold several, anything else is one."""
    if value is None:
        return []
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]


def _texts_by_role(turns: Any, images: list[Any]) -> dict[str, str]:
    """The text of each role, "" where it has no turn; images found in parts are added to `images`."""
    texts = {"system": "", "user": "", "assistant": ""}
    roles = []
    for turn in _listed(turns):
        if not isinstance(turn, Mapping):
            raise InputError(f"a turn of the conversation is no object but {type(turn).__name__}")
        name = turn.get("role", turn.get("from"))
        role = _ROLES.get(str(name).lower())
        if role is None:
            raise InputError(f"a turn of the conversation is of role {name!r}, none of {', '.join(_ROLES)}")
        roles.append(role)
        texts[role] = _text_of(turn.get("content", turn.get("value")), images)
    if [role for role in roles if role != "system"] not in (["user"], ["user", "assistant"]) or "system" in roles[1:]:
        raise InputError(
            f"the conversation has the turns {', '.join(roles) or 'none'}: a query is one question, with at most one "
            "system turn before it and one answer after it"
        )
    return texts


def _text_of(content: Any, images: list[Any]) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for part in _listed(content):
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        if isinstance(part, str):
            texts.append(part)
        elif kind in _TEXT_PARTS:
            texts.append(str(part.get("text") or ""))
        elif kind in _IMAGE_PARTS:
            images += _listed(_image_of(part))
        else:
            raise InputError(f"a part of a turn is of type {kind!r}: texts and images are read")
    return "\n".join(texts)


def _image_of(part: Mapping[str, Any]) -> Any:
    """The image of a part; None where the part only marks the place of one."""
    value = next((part[name] for name in ("image_url", "image", "url", "path") if part.get(name) is not None), None)
    if isinstance(value, Mapping) and "url" in value:
        value = value["url"]
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        raise InputError(f"the image is an address, {value[:80]}, and nothing is fetched: give the image itself")
    return value
