"""Queries as a folder: images, and queries.jsonl, which all that takes queries reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from davsp.data.conversation import ImageContent, one_turn
from davsp.data.digests import image_bytes
from davsp.data.query import Query
from davsp.errors import ArtefactError, InputError
from davsp.imaging.opening import png_bytes
from davsp.util.files import new_folder

QUERIES = "queries.jsonl"


def save_queries(queries: Sequence[Query], folder: Path) -> None:
    """Write queries into a new folder, whole or not at all; images that are files or bytes stay as they are.

    Raises InputError for conversations, of which the columns of a file hold one question alone, ArtefactError where the
    folder is there, StorageError where it cannot be written.
    """
    for query in queries:
        if query.messages != one_turn(query.question, query.images):
            raise InputError(f"query {query.id} is a conversation: only single questions about images can be written.")
    with new_folder(folder) as partial:
        if partial:
            (partial / "images").mkdir()
            lines = [json.dumps(_record(query, i, partial), ensure_ascii=False) for i, query in enumerate(queries)]
            (partial / QUERIES).write_text("\n".join(lines) + "\n", "utf-8")
    if partial is None:
        raise ArtefactError(f"{folder} is there already: choose another output folder.")


def _record(query: Query, number: int, folder: Path) -> dict[str, Any]:
    names = [_write(image, f"images/{number:05d}-{i}", query.id, folder) for i, image in enumerate(query.images)]
    own: dict[str, Any] = query.as_record(names[0] if len(names) == 1 else "")
    if len(names) != 1:
        own = {name: value for name, value in own.items() if name != "image"} | {"images": names}
    more = {name: value for name, value in query.metadata.items() if name not in own}
    return {name: value for name, value in (own | more).items() if value is not None}


def _write(image: ImageContent, name: str, where: str, folder: Path) -> str:
    named = name + ((image.suffix if isinstance(image, Path) else "") or ".png")
    content = image_bytes(image, where) if isinstance(image, Path | bytes) else png_bytes(image)
    (folder / named).write_bytes(content)
    return named
