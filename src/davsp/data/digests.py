"""Digests that tell one set of queries from another."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from davsp.data.query import Query
from davsp.errors import InputError


def image_bytes(query: Query) -> bytes:
    """The bytes that tell a query's image from another. Raises InputError if its file cannot be read."""
    image = query.image
    if isinstance(image, Path):
        try:
            return image.read_bytes()
        except OSError as error:
            raise InputError(f"query {query.id}: cannot read {image}: {error.strerror}. Check the path.") from error
    if isinstance(image, bytes):
        return image
    return f"{image.mode} {image.size} ".encode() + image.tobytes()


def digest(queries: Sequence[Query]) -> str:
    """A hex digest of all that is in the queries. Raises InputError if an image cannot be read."""
    total = hashlib.sha256()
    for query in queries:
        fields = (
            query.id,
            query.question,
            query.answer,
            query.malicious,
            query.group,
            sorted(query.metadata.items()),
        )
        total.update(repr(fields).encode())
        total.update(hashlib.sha256(image_bytes(query)).digest())
    return total.hexdigest()
