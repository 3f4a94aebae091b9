"""Digests that tell one set of queries from another."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from davsp.data.conversation import ImageContent, Messages
from davsp.data.query import Query
from davsp.errors import InputError


def image_bytes(image: ImageContent, where: str) -> bytes:
    """The bytes that tell an image from another. Raises InputError, naming `where`, if its file cannot be read."""
    if isinstance(image, Path):
        try:
            return image.read_bytes()
        except OSError as error:
            raise InputError(f"{where}: cannot read {image}: {error.strerror}. Check the path.") from error
    if isinstance(image, bytes):
        return image
    return f"{image.mode} {image.size} ".encode() + image.tobytes()


def digest(queries: Sequence[Query]) -> str:
    """A hex digest of all that is in the queries. Raises InputError if an image cannot be read."""
    total = hashlib.sha256()
    for query in queries:
        fields = (
            query.id,
            query.question if query.is_short else _roles_and_texts(query.messages),
            query.answer,
            query.malicious,
            query.group,
            sorted(query.metadata.items()),
        )
        total.update(repr(fields).encode())
        for image in query.images:
            total.update(hashlib.sha256(image_bytes(image, f"query {query.id}")).digest())
    return total.hexdigest()


def _roles_and_texts(messages: Messages) -> list[tuple[str, list[str | None]]]:
    """What is said in a conversation; None stands for an image."""
    return [(m.role.value, [part if isinstance(part, str) else None for part in m.parts]) for m in messages]
