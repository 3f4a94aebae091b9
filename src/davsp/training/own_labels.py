"""Labels from the model itself: malicious is what it refuses where the same is asked as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from davsp.data.query import Query
from davsp.errors import InputError
from davsp.judges.refusal import REFUSAL_TOKENS, is_refusal
from davsp.models.base import VisionLanguageModel
from davsp.training.twins import REQUEST, as_text
from davsp.util.batching import batched
from davsp.util.progress import bar


def own_labels(
    model: VisionLanguageModel, queries: Sequence[Query], *, batch_size: int = 16, quiet: bool = False
) -> list[Query]:
    """The same queries, each `malicious` where the model refuses its request asked as text, beside a white image.

    Whether they were malicious is not read. A query's request is that in its metadata, or the question of one without
    an image; each is asked once. Malicious ones lose their reference answer, which may be the very thing that is to be
    refused. Raises InputError, before anything is asked, for queries whose request is not known.
    """
    requests = [_request(query) for query in queries]
    unknown = [query.id for query, request in zip(queries, requests, strict=True) if not request]
    if unknown:
        raise InputError(
            f"{len(unknown)} of {len(queries)} queries, {unknown[0]!r} first, do not say which request their image "
            f"shows, so that it could be asked as text: name it in their column {REQUEST!r}."
        )
    asked = list(dict.fromkeys(requests))
    refused: set[str] = set()
    with bar("Asking requests as text", len(asked), quiet=quiet) as advance:
        for batch in batched(asked, batch_size):
            answers = model.generate([as_text(request) for request in batch], REFUSAL_TOKENS)
            refused |= {request for request, answer in zip(batch, answers, strict=True) if is_refusal(answer)}
            advance(len(batch))
    return [_labelled(query, malicious=request in refused) for query, request in zip(queries, requests, strict=True)]


def _labelled(query: Query, malicious: bool) -> Query:
    if malicious:
        return replace(query, malicious=True, answer=None, scoring="")
    return replace(query, malicious=False)


def _request(query: Query) -> str:
    return query.metadata.get(REQUEST) or ("" if query.images else query.question)
