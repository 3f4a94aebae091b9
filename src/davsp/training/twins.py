"""Text twins: the requests that images show, asked as text."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from PIL import Image

from davsp.data.query import Query

REQUEST = "request"
"""The metadata of a query that hold the request which its image shows."""
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
            twins[request, query.malicious] = Query(
                id=f"{query.id} as text",
                image=_BLANK,
                question=request,
                malicious=query.malicious,
                group="as text",
                metadata=MappingProxyType({REQUEST: request}),
            )
    return list(twins.values())
