"""Image files as base64 data URIs, the form in which OpenAI-compatible APIs take them."""

from __future__ import annotations

import base64

from PIL import Image

from davsp.errors import InputError
from davsp.imaging.opening import png_bytes


def from_data_uri(uri: str) -> bytes:
    """The content of a base64 data URI. Raises InputError for anything else, such as a URL."""
    head, comma, body = uri.partition(",")
    if not (comma and head[:5].lower() == "data:" and head.lower().endswith(";base64")):
        raise InputError(f"{uri[:60]!r} is no base64 data URI. Give the image itself, not its address.")
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as error:  # binascii.Error is one; so is what a text gives that is no ASCII
        raise InputError(f"an image's base64 is damaged ({error}). Encode the image again.") from error


def to_data_uri(content: bytes, kind: str) -> str:
    """A data URI of an image file of a media type, such as image/png."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def png_uri(image: Image.Image) -> str:
    """The image as a PNG file in a data URI: nothing of its pixels is lost."""
    return to_data_uri(png_bytes(image), "image/png")
