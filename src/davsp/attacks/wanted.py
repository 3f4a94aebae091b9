"""The answer that an attack wants of a query."""

from __future__ import annotations

from collections.abc import Sequence

from davsp.attacks.base import SearchOptions
from davsp.attacks.pipeline import Case
from davsp.data.query import Query
from davsp.judges.refusal import is_refusal
from davsp.models.base import VisionLanguageModel

FORBIDDEN = "forbidden"
"""The metadata of a query that hold the answer it must not get."""


def cases_of(model: VisionLanguageModel, queries: Sequence[Query], options: SearchOptions) -> list[Case]:
    """Each query with the tokens of the answer that is wanted: its forbidden one, else what the undefended model says
    unless that refuses, else `affirmative`; of any, the first `tokens` tokens, without an end."""
    texts = {query.id: query.metadata.get(FORBIDDEN, "") for query in queries}
    unknown = [query for query in queries if not texts[query.id]]
    if unknown:
        for query, answer in zip(unknown, model.generate(unknown, options.tokens), strict=True):
            texts[query.id] = options.affirmative if is_refusal(answer) or not answer.strip() else answer
    return [Case(query, model.answer_ids(texts[query.id])[:-1][: options.tokens]) for query in queries]
