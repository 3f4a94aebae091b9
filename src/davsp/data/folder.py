"""Queries as a folder: images, and queries.jsonl, which all that takes queries reads."""

from __future__ import annotations

import io
import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from davsp.data.conversation import ImageContent, one_turn
from davsp.data.digests import image_bytes
from davsp.data.query import Query
from davsp.errors import ArtefactError, InputError
from davsp.util.files import new_folder

QUERIES, IMAGES = "queries.jsonl", "images"
ENDINGS = {"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif"}


@dataclass
class ImageWriter:
    """Writes images into the folder IMAGES of `folder`, which is there: each once, files and bytes as they are."""

    folder: Path
    written: dict[Hashable, str] = field(default_factory=dict)

    def write(self, image: ImageContent, where: str) -> str:
        """The path within the folder. Raises InputError, naming `where`, for a file that cannot be read."""
        key = id(image) if isinstance(image, Image.Image) else image
        if key not in self.written:
            content = _file_of(image) if isinstance(image, Image.Image) else image_bytes(image, where)
            name = f"{IMAGES}/{len(self.written):05d}{_ending(image, content, where)}"
            (self.folder / name).write_bytes(content)
            self.written[key] = name
        return self.written[key]


def save_queries(queries: Sequence[Query], folder: Path) -> None:
    """Write queries into a new folder, whole or not at all; images that are files or bytes stay as they are.

    Raises what `check_writable` raises, ArtefactError where the folder is there, StorageError where it cannot be
    written.
    """
    check_writable(queries)
    with new_folder(folder) as partial:
        if partial:
            (partial / IMAGES).mkdir()
            images = ImageWriter(partial)
            lines = [json.dumps(_record(query, images), ensure_ascii=False) for query in queries]
            (partial / QUERIES).write_text("\n".join(lines) + "\n", "utf-8")
    if partial is None:
        raise ArtefactError(f"{folder} is there already: choose another output folder.")


def check_writable(queries: Sequence[Query]) -> None:
    """Raise InputError for conversations, of which the columns of a file hold one question alone."""
    for query in queries:
        if query.messages != one_turn(query.question, query.images):
            raise InputError(f"query {query.id} is a conversation: only single questions about images can be written.")


def _record(query: Query, images: ImageWriter) -> dict[str, Any]:
    names = [images.write(image, f"query {query.id}") for image in query.images]
    own: dict[str, Any] = query.as_record(names[0] if len(names) == 1 else "")
    if len(names) != 1:
        own = {name: value for name, value in own.items() if name != "image"} | {"images": names}
    more = {name: value for name, value in query.metadata.items() if name not in own}
    return {name: value for name, value in (own | more).items() if value is not None}


def _file_of(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _ending(image: ImageContent, content: bytes, where: str) -> str:
    if isinstance(image, Path):
        return image.suffix
    try:
        with Image.open(io.BytesIO(content)) as opened:
            return ENDINGS.get(opened.format or "", "")
    except UnidentifiedImageError as error:
        raise InputError(f"{where}: its bytes are no image that can be read.") from error
