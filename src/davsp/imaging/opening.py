"""Opening images from users, safely and always the same way."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from davsp.errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")
MAX_PIXELS = 80_000_000
MAX_BYTES = 64 * 2**20
RUN_LENGTHS = 3
"""Zlib's Z_RLE strategy: twice as fast as the default one, and of a border's noise the files are no larger."""

# What Pillow's decoders raise on damaged data.
_DAMAGED = (OSError, SyntaxError, ValueError, LookupError, TypeError, EOFError, OverflowError, struct.error)
_WIDE_GREY = ("I;16", "I;16B", "I;16L", "I;16N")
_NO_COLOUR_RANGE = ("I", "F")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MADE_BY = "davsp"
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_warning_filters = threading.Lock()


def open_image(source: Path | bytes | Image.Image, *, what: str = "", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open an image as 8-bit RGB, turned upright by its EXIF orientation, transparency laid on white.

    `source` is a path, the bytes of an image file, or a Pillow image, which stays as it is. `what` names the
    image in error messages; a path names itself. 16-bit grey is scaled to 8 bit.

    Raises InputError when there is no such file, or it holds no image of FORMATS, is damaged, has several
    frames, or is larger than MAX_BYTES or `max_pixels`, which the header tells before anything is decoded.
    """
    name = what or (str(source) if isinstance(source, Path) else "the image")
    if isinstance(source, Path):
        source = _read(source, name)
    try:
        return _opened(source, name, max_pixels)
    except _DAMAGED as error:
        if isinstance(source, bytes) and "text chunk" in str(error).lower().replace("_", " "):
            return open_image(_without_texts(source), what=name, max_pixels=max_pixels)
        raise InputError(f"{name} is damaged or cut off ({error}). Get a fresh copy of it.") from error


def _opened(source: bytes | Image.Image, name: str, max_pixels: int) -> Image.Image:
    try:
        # Pillow warns of large sizes and odd headers, which are checked here. Its warnings go through filters
        # that all threads share, hence the lock; decoding comes after it.
        with _warning_filters, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = source if isinstance(source, Image.Image) else _open_header(source, name)
            _check_header(image, name, max_pixels)
        image.load()
        return _to_rgb(_upright(image))
    except Image.DecompressionBombError as error:
        raise _too_large(name, str(error).partition(" exceeds")[0], max_pixels) from error


def _without_texts(content: bytes) -> bytes:
    """A PNG file less its text chunks, of which Pillow reads no more than 1 MiB: images of generators hold more."""
    kept, at = [content[: len(_PNG_SIGNATURE)]], len(_PNG_SIGNATURE)
    while at + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        if kind not in _PNG_TEXTS:
            kept.append(content[at : at + 12 + length])
        at += 12 + length
    return b"".join(kept)


def _read(path: Path, name: str) -> bytes:
    try:
        if not path.exists():
            raise InputError(f"{name}: no such file. Check the path.")
        if not path.is_file():
            raise InputError(f"{name} is not a file. Give the path of one image.")
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{name} is larger than {MAX_BYTES // 2**20} MiB. Save a smaller version of it.")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}. Check the path and its permissions.") from error


def _open_header(content: bytes, name: str) -> Image.Image:
    if not content:
        raise InputError(f"{name} is empty (0 bytes). Get a fresh copy of it.")
    if len(content) > MAX_BYTES:
        raise InputError(f"{name} is larger than {MAX_BYTES // 2**20} MiB. Save a smaller version of it.")
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise InputError(
            f"{name} is not an image that can be read. Convert it to one of {', '.join(FORMATS)}."
        ) from error


def _check_header(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height == 0:
        raise InputError(f"{name} has no pixels ({width} x {height}). Give an image with at least one.")
    if width * height > max_pixels:
        raise _too_large(name, f"{width} x {height} pixels", max_pixels)
    # The further pictures of an MPO, a format of phone cameras, are other views of the first.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise InputError(f"{name} has several frames. Extract the one you mean and save it as PNG.")
    if image.mode in _NO_COLOUR_RANGE:
        raise InputError(f"{name} holds 32-bit or signed numbers, not colours. Save it as 8-bit or 16-bit PNG.")


def _too_large(name: str, size: str, max_pixels: int) -> InputError:
    return InputError(
        f"{name} is too large: {size}; the limit is {max_pixels / 10**6:g} megapixels. Scale it down first."
    )


def _upright(image: Image.Image) -> Image.Image:
    """The image turned by its EXIF orientation. Pillow's own function copies those that need no turning."""
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ImageOps.exif_transpose(image) if turned else image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _WIDE_GREY:
        wide = np.asarray(image).astype(np.float32)
        image = Image.fromarray(np.rint(wide * (255 / 65535)).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def png_bytes(image: Image.Image, made_by: str | None = None) -> bytes:
    """The image as a PNG file, compressed fast rather than small: every query needs one.

    `made_by` stands in a text chunk at its beginning, where `was_made_by` finds it.
    """
    stream, texts = io.BytesIO(), PngInfo()
    if made_by is not None:
        texts.add_text(_MADE_BY, made_by)
    image.save(stream, "PNG", compress_level=1, compress_type=RUN_LENGTHS, pnginfo=texts)
    return stream.getvalue()


def stored_png(image: Image.Image) -> bytes:
    """The RGB image as a PNG file that is not compressed, for what is sent once and kept by nobody: it is written and
    read many times faster. Behind a border of noise it is a third larger.

    PNG (W3C recommendation), sections 5 and 11: signature, header, lines without a filter, end.
    """
    height, width = image.height, image.width
    lines = np.zeros((height, 1 + 3 * width), np.uint8)  # each line begins with its filter's number, 0
    lines[:, 1:] = np.asarray(image).reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits of red, green and blue
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 0)), (b"IEND", b""))
    return _PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
        for kind, content in chunks
    )


def was_made_by(path: Path, maker: str) -> bool:
    """Whether a file begins as one that `png_bytes` made for this maker."""
    with path.open("rb") as stream:
        return f"{_MADE_BY}\0{maker}".encode("latin-1") in stream.read(1024)
