"""Queries as Inspect carries them: as samples, their images as data URIs."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from inspect_ai.dataset import Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ContentImage,
    ContentText,
)
from PIL import Image

from davsp.data.conversation import ImageContent, Message, Messages, Role
from davsp.data.query import Query
from davsp.errors import InputError
from davsp.imaging.data_uris import from_data_uri, png_uri, to_data_uri
from davsp.imaging.opening import open_image
from davsp.judges.judgement import request_of

KINDS = {"PNG": "image/png", "JPEG": "image/jpeg"}
"""Formats of files that need no new encoding, and their media types."""


def decode_image(uri: str) -> Image.Image:
    """The image of a base64 data URI, as RGB. Raises InputError for anything else, such as a URL."""
    return open_image(from_data_uri(uri))


@lru_cache(maxsize=8)
def embed_file(content: bytes) -> str:
    """A data URI of an image file: as it is where every model takes its kind, else as PNG.

    Queries about one image that follow each other share the text. Raises InputError if it is not usable.
    """
    image = open_image(content)
    with Image.open(io.BytesIO(content)) as header:
        kind = KINDS.get(header.format or "")
    return to_data_uri(content, kind) if kind else png_uri(image)


def to_sample(query: Query) -> Sample:
    """The query for any model of Inspect's. Raises InputError if an image, given as bytes, is not usable, and for
    messages that Inspect does not send."""
    try:
        messages = to_chat(query.messages, _shown)
    except InputError as error:
        raise InputError(f"query {query.id}: {error}") from error
    return Sample(id=query.id, input=messages, target=query.answer or "", metadata=_metadata(query))


def _shown(image: ImageContent) -> str:
    """A file's path, which Inspect reads itself, or a data URI."""
    if isinstance(image, Path):
        return str(image.resolve())
    return embed_file(image) if isinstance(image, bytes) else png_uri(open_image(image))


def to_chat(messages: Messages, shown: Callable[[ImageContent], str]) -> list[ChatMessage]:
    """A conversation as Inspect has it; `shown` gives an image as a path or a data URI.

    Raises InputError for what no OpenAI-compatible API takes: images that are not a user's, and tools' messages.
    """
    return [_to_chat_message(message, shown) for message in messages]


def _to_chat_message(message: Message, shown: Callable[[ImageContent], str]) -> ChatMessage:
    if message.role is Role.USER:
        return ChatMessageUser(
            content=[
                ContentText(text=part) if isinstance(part, str) else ContentImage(image=shown(part))
                for part in message.parts
            ]
        )
    if message.images or message.role is Role.TOOL:
        what = "tools" if message.role is Role.TOOL else f"images of the {message.role}"
        raise InputError(f"{what} are not sent to a server: load the model itself, or leave them out.")
    kind = ChatMessageSystem if message.role is Role.SYSTEM else ChatMessageAssistant
    return kind(content=message.text)


def to_text_sample(query: Query) -> Sample:
    """The query for a solver that has its images already; the sample's metadata name the image's file, if it is one."""
    files = [str(image) for image in query.images if isinstance(image, Path)]
    file = {"image_file": ", ".join(files)} if files else {}
    return Sample(id=query.id, input=query.as_text, target=query.answer or "", metadata=_metadata(query) | file)


def _metadata(query: Query) -> dict[str, Any]:
    said = {"request": request_of(query)} if len(query.messages) > 1 else {}
    facts = {"group": query.group, "malicious": query.malicious, "scoring": query.scoring}
    return {**query.metadata, **said, **facts}
