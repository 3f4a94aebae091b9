"""Labels from the model itself: malicious is what it refuses where the same is asked as text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from davsp.data.query import REQUEST, Query
from davsp.errors import InputError
from davsp.judges.refusal import REFUSAL_TOKENS, is_refusal
from davsp.models.base import VisionLanguageModel
from davsp.training.twins import as_text
from davsp.util.batching import batched
from davsp.util.files import append_line, kept_lines
from davsp.util.progress import bar

NAME, REFUSED = "request", "refused"
"""Of a line that is kept: the digest of a request and of the model that was asked, and what came of it."""


def own_labels(
    model: VisionLanguageModel,
    queries: Sequence[Query],
    *,
    kept: Path | None = None,
    batch_size: int = 16,
    quiet: bool = False,
) -> list[Query]:
    """The same queries, each `malicious` where the model refuses its request asked as text, beside a white image.

    Whether they were malicious is not read. A query's request is that in its metadata, or the question of one without
    an image; each is asked once. Malicious ones lose their reference answer, which may be the very thing that is to be
    refused. In `kept`, a file, is what came of each request, a line each: what this model was asked before is not asked
    again. Raises InputError, before anything is asked, for queries whose request is not known.
    """
    requests = [_request(query) for query in queries]
    unknown = [query.id for query, request in zip(queries, requests, strict=True) if not request]
    if unknown:
        raise InputError(
            f"{len(unknown)} of {len(queries)} queries, {unknown[0]!r} first, do not say which request their image "
            f"shows, so that it could be asked as text: name it in their column {REQUEST!r}."
        )
    refused = _refused(model, list(dict.fromkeys(requests)), kept, batch_size, quiet)
    return [_labelled(query, malicious=refused[request]) for query, request in zip(queries, requests, strict=True)]


def _refused(
    model: VisionLanguageModel, requests: Sequence[str], kept: Path | None, batch_size: int, quiet: bool
) -> dict[str, bool]:
    """Whether the model refuses each request."""
    identity = f"{model.identity} {model.canvas}"
    names = {request: hashlib.sha256(f"{identity} {request}".encode()).hexdigest() for request in requests}
    found = {name: bool(line.get(REFUSED)) for name, line in (kept_lines(kept, NAME) if kept else {}).items()}
    left = [request for request, name in names.items() if name not in found]
    done = len(requests) - len(left)
    with bar("Asking requests as text", len(requests), done=done, quiet=quiet) as advance:
        for batch in batched(left, batch_size):
            answers = model.generate([as_text(request) for request in batch], REFUSAL_TOKENS)
            for request, answer in zip(batch, answers, strict=True):
                name, refused = names[request], is_refusal(answer)
                found[name] = refused
                if kept:
                    append_line(kept, json.dumps({NAME: name, REFUSED: refused}))
            advance(len(batch))
    return {request: found[name] for request, name in names.items()}


def _labelled(query: Query, malicious: bool) -> Query:
    if malicious:
        return replace(query, malicious=True, answer=None, scoring="")
    return replace(query, malicious=False)


def _request(query: Query) -> str:
    return query.metadata.get(REQUEST) or ("" if query.images else query.question)
