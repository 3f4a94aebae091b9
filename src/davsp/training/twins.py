"""Text twins: the requests that images show, asked as text."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from types import MappingProxyType

from PIL import Image

from davsp.data.query import REQUEST, Query, request_key

_BLANK = Image.new("RGB", (224, 224), "white")


def text_twins(queries: Iterable[Query]) -> list[Query]:
    """Each different request that the queries' metadata name, asked as text beside a white image, in order.

    Models that were taught to refuse by text refuse these: they say what a model makes of the same request where it
    recognises it. Queries of which the request is not known have no twin.
    """
    twins: dict[tuple[str, bool], Query] = {}
    for query in queries:
        request = query.metadata.get(REQUEST)
        if request and (request, query.malicious) not in twins:
            twins[request, query.malicious] = as_text(request, f"{query.id} as text", query.malicious)
    return list(twins.values())


def as_text(request: str, name: str = "", malicious: bool = False) -> Query:
    """A request asked as text, beside a white image. `name`: the query's id."""
    return Query(
        id=name or request,
        image=_BLANK,
        question=request,
        malicious=malicious,
        group="as text",
        metadata=MappingProxyType({REQUEST: request}),
    )


def apart(queries: Sequence[Query], share: float) -> tuple[list[Query], list[Query]]:
    """Two parts in order, of which the first has a share of the requests, and which share none; a query whose request
    is not known is one of its own."""
    requests = sorted({request_key(query) for query in queries})
    random.Random(0).shuffle(requests)  # noqa: S311 - a choice of samples, no secret
    first = set(requests[: round(share * len(requests))])
    return [q for q in queries if request_key(q) in first], [q for q in queries if request_key(q) not in first]
