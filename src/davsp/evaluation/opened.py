"""The queries of an evaluation with their images opened, once for all defences as far as memory allows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from davsp.data.query import Query
from davsp.imaging.opening import open_image

KEPT_BYTES = 512 * 2**20
"""Opened images that are kept take at most so much memory; others are opened again for every defence."""


class OpenedQueries:
    """Queries by id, as a defence sees them: image and question, never the label or the reference answer.

    Files are opened at their first use, and once for all queries about them. Raises InputError at once for an image
    that was given as bytes or picture and is not usable.
    """

    def __init__(self, queries: Sequence[Query], kept_bytes: int = KEPT_BYTES) -> None:
        self._queries = {query.id: query for query in queries}
        self._free = kept_bytes
        self._kept: dict[Path | str, Image.Image] = {}
        self._opening: dict[Path | str, asyncio.Task[Image.Image]] = {}
        for query in queries:
            if not isinstance(query.image, Path):
                self._keep(_source(query), open_image(query.image, what=f"the image of query {query.id}"))

    async def get(self, id: str) -> Query:
        """The query of that id, with a picture of its own. Raises InputError if its file holds no usable image."""
        query = self._queries[id]
        source = _source(query)
        image = self._kept.get(source)
        if image is None:
            if source not in self._opening:
                self._opening[source] = asyncio.create_task(self._open(query))
            image = await asyncio.shield(self._opening[source])
        return Query(id, image.copy(), query.question)

    async def _open(self, query: Query) -> Image.Image:
        source = _source(query)
        try:
            image = await asyncio.to_thread(open_image, query.image)
            self._keep(source, image)
            return image
        finally:
            del self._opening[source]

    def _keep(self, source: Path | str, image: Image.Image) -> None:
        """Keep it while there is room. What is kept stays: every defence asks about all queries in the same order, so
        that whatever made room for another would be gone when its turn comes again."""
        size = image.width * image.height * len(image.getbands())
        if size <= self._free:
            self._free -= size
            self._kept[source] = image


def _source(query: Query) -> Path | str:
    return query.image if isinstance(query.image, Path) else query.id
