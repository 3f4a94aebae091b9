"""The queries of an evaluation with their images opened, once for all defences as far as memory allows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anyio import to_thread
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
        for query in queries:
            if not isinstance(query.image, Path):
                self._keep(query, open_image(query.image, what=f"the image of query {query.id}"))

    async def get(self, id: str) -> Query:
        """The query of that id, with a picture of its own. Raises InputError if its file holds no usable image."""
        query = self._queries[id]
        image = self._kept.get(_source(query))
        if image is None:
            image = await to_thread.run_sync(self._open, query)
        return Query(id, image.copy(), query.question)

    def _open(self, query: Query) -> Image.Image:
        image = open_image(query.image)
        self._keep(query, image)
        return image

    def _keep(self, query: Query, image: Image.Image) -> None:
        """Keep it while there is room. Which images are kept does not change: every defence asks about all of them in
        the same order, so that whatever took the place of another would be gone when its turn comes."""
        size = image.width * image.height * len(image.getbands())
        if size <= self._free and _source(query) not in self._kept:
            self._free -= size
            self._kept[_source(query)] = image


def _source(query: Query) -> Path | str:
    return query.image if isinstance(query.image, Path) else query.id
