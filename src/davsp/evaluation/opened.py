"""The queries of an evaluation with their images opened, once for all defences as far as memory allows."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from pathlib import Path

from PIL import Image

from davsp.data.conversation import ImageContent, with_images
from davsp.data.query import Query
from davsp.imaging.opening import open_image

KEPT_BYTES = 512 * 2**20
"""Opened images that are kept take at most so much memory; others are opened again for every defence."""


class OpenedQueries:
    """Queries by id, as a defence sees them: the conversation, never the label or the reference answer.

    Files are opened at their first use, and once for all queries about them. Raises InputError at once for an image
    that was given as bytes or picture and is not usable.
    """

    def __init__(self, queries: Sequence[Query], kept_bytes: int = KEPT_BYTES) -> None:
        self._queries = {query.id: query for query in queries}
        self._free = kept_bytes
        self._kept: dict[Hashable, Image.Image] = {}
        self._opening: dict[Hashable, asyncio.Task[Image.Image]] = {}
        for query in queries:
            for number, image in enumerate(query.images):
                if not isinstance(image, Path):
                    opened = open_image(image, what=f"the image of query {query.id}")
                    self._keep(_source(query, number, image), opened)

    async def get(self, id: str) -> Query:
        """The query of that id, with pictures of its own. Raises InputError if a file of it holds no usable image."""
        query = self._queries[id]
        images = [await self._image(_source(query, i, image), image) for i, image in enumerate(query.images)]
        return Query(id, messages=with_images(query.messages, lambda number, _: images[number].copy()))

    async def _image(self, source: Hashable, image: ImageContent) -> Image.Image:
        kept = self._kept.get(source)
        if kept is not None:
            return kept
        if source not in self._opening:
            self._opening[source] = asyncio.create_task(self._open(source, image))
        return await asyncio.shield(self._opening[source])

    async def _open(self, source: Hashable, image: ImageContent) -> Image.Image:
        try:
            opened = await asyncio.to_thread(open_image, image)
            self._keep(source, opened)
            return opened
        finally:
            del self._opening[source]

    def _keep(self, source: Hashable, image: Image.Image) -> None:
        """Keep it while there is room. What is kept stays: every defence asks about all queries in the same order, so
        that whatever made room for another would be gone when its turn comes again."""
        size = image.width * image.height * len(image.getbands())
        if size <= self._free:
            self._free -= size
            self._kept[source] = image


def _source(query: Query, number: int, image: ImageContent) -> Hashable:
    """A file, or the place of an image in its query."""
    return image if isinstance(image, Path) else (query.id, number)
