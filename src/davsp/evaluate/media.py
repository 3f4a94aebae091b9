"""Images as Inspect carries them: data URIs."""

from __future__ import annotations

import base64
import binascii
import io
from functools import lru_cache

from PIL import Image

from davsp.errors import InputError
from davsp.images import open_image, png_bytes

KINDS = {"PNG": "image/png", "JPEG": "image/jpeg"}
"""Formats of files that need no new encoding, and their media types."""


def decode_image(uri: str) -> Image.Image:
    """The image of a base64 data URI, as RGB. Raises InputError for anything else, such as a URL."""
    head, comma, body = uri.partition(",")
    if not (comma and head.startswith("data:") and head.endswith(";base64")):
        raise InputError(f"{uri[:60]!r} is no base64 data URI. Give the image itself, not its address.")
    try:
        content = base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise InputError(f"an image's base64 is damaged ({error}). Encode the image again.") from error
    return open_image(content)


def encode_image(image: Image.Image) -> str:
    """A PNG data URI: nothing of the pixels is lost."""
    return f"data:image/png;base64,{base64.b64encode(png_bytes(image)).decode()}"


@lru_cache(maxsize=8)
def embed_file(content: bytes) -> str:
    """A data URI of an image file: as it is where every model takes its kind, else as PNG.

    Queries about one image that follow each other share the text. Raises InputError if it is not usable.
    """
    image = open_image(content)
    with Image.open(io.BytesIO(content)) as header:
        kind = KINDS.get(header.format or "")
    return f"data:{kind};base64,{base64.b64encode(content).decode()}" if kind else encode_image(image)
