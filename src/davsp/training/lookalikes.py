"""Harmless queries that look harmful, such as those of XSTest: they are what a hardened model refuses first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from davsp.data.query import Query, split_queries
from davsp.errors import InputError

MARK = "harmless_lookalike"
"""The metadata that mark such a query, where its group does not."""
_TWINS = "twin/"
"""How the testbed's groups of such queries begin."""


def is_lookalike(query: Query) -> bool:
    """Whether a query is marked as harmless and looking harmful: by a true value of the metadata MARK, or as a twin of
    the testbed."""
    marked = query.metadata.get(MARK, "").strip().lower() in ("true", "1", "1.0", "yes")
    return not query.malicious and (marked or query.group.startswith(_TWINS))


def with_lookalikes(
    training: Sequence[Query], validation: Sequence[Query], lookalikes: Sequence[Query], share: float, seed: int
) -> tuple[list[Query], list[Query]]:
    """Training and validation queries with look-alikes among them, of which validation gets `share`; marked, and under
    ids of their own. Raises InputError for a malicious one, or for a group of a single one."""
    for query in lookalikes:
        if query.malicious:
            raise InputError(f"look-alikes are harmless, and query {query.id!r} is malicious: leave it out.")
    named = [replace(q, id=f"look-alike {q.id}", metadata={**q.metadata, MARK: "true"}) for q in lookalikes]
    more, checks = split_queries(named, share, seed)
    return [*training, *more], [*validation, *checks]
