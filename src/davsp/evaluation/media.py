"""Queries as Inspect carries them: as samples, their images as data URIs."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import Any

from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageUser, ContentImage, ContentText
from PIL import Image

from davsp.data.query import Query
from davsp.errors import InputError
from davsp.imaging.data_uris import from_data_uri, to_data_uri
from davsp.imaging.opening import open_image, png_bytes

KINDS = {"PNG": "image/png", "JPEG": "image/jpeg"}
"""Formats of files that need no new encoding, and their media types."""


def decode_image(uri: str) -> Image.Image:
    """The image of a base64 data URI, as RGB. Raises InputError for anything else, such as a URL."""
    return open_image(from_data_uri(uri))


def encode_image(image: Image.Image) -> str:
    """A PNG data URI: nothing of the pixels is lost."""
    return to_data_uri(png_bytes(image), "image/png")


@lru_cache(maxsize=8)
def embed_file(content: bytes) -> str:
    """A data URI of an image file: as it is where every model takes its kind, else as PNG.

    Queries about one image that follow each other share the text. Raises InputError if it is not usable.
    """
    image = open_image(content)
    with Image.open(io.BytesIO(content)) as header:
        kind = KINDS.get(header.format or "")
    return to_data_uri(content, kind) if kind else encode_image(image)


def to_sample(query: Query) -> Sample:
    """The query for any model of Inspect's. Raises InputError if its image, given as bytes, is not usable."""
    if isinstance(query.image, Path):
        image = str(query.image.resolve())
    elif isinstance(query.image, bytes):
        try:
            image = embed_file(query.image)
        except InputError as error:
            raise InputError(f"query {query.id}: {error}") from error
    else:
        image = encode_image(open_image(query.image, what=f"the image of query {query.id}"))
    return Sample(
        id=query.id,
        input=[ChatMessageUser(content=[ContentImage(image=image), ContentText(text=query.question)])],
        target=query.answer or "",
        metadata=_metadata(query),
    )


def to_text_sample(query: Query) -> Sample:
    """The query for a solver that has its image already; the sample's metadata name the image's file, if it is one."""
    file = {"image_file": str(query.image)} if isinstance(query.image, Path) else {}
    return Sample(id=query.id, input=query.question, target=query.answer or "", metadata=_metadata(query) | file)


def _metadata(query: Query) -> dict[str, Any]:
    return {**query.metadata, "group": query.group, "malicious": query.malicious, "scoring": query.scoring}
