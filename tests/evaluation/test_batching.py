"""Requests that arrive together are answered together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from davsp.errors import InputError
from davsp.evaluation.batching import Batcher
from davsp.models.requests import Request, Response
from tests.evaluation.fakes import FORBIDDEN, RED, REFUSAL, FakeModel


def answers_of(model: Any, queries: Sequence[Request], batch_size: int, limits: Sequence[int] = ()) -> list[Any]:
    async def ask() -> list[Any]:
        batcher = Batcher(model, batch_size)
        wanted = limits or [8] * len(queries)
        asked = [batcher.respond(q, n) for q, n in zip(queries, wanted, strict=True)]
        found = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), timeout=5)
        batcher.close()
        return [answer.text if isinstance(answer, Response) else answer for answer in found]

    return asyncio.run(ask())


def many(*questions: str) -> list[Request]:
    return [Request(question, RED) for question in questions]


def test_queries_that_arrive_together_share_full_batches() -> None:
    model = FakeModel()
    answers_of(model, many(*["colour"] * 10), batch_size=4)
    assert [len(batch) for batch in model.batches] == [4, 4, 2]


def test_every_query_gets_its_own_answer() -> None:
    assert answers_of(FakeModel(), many("colour", "bomb", "careful"), batch_size=2) == [
        "It is red.",
        FORBIDDEN,
        REFUSAL,
    ]


def test_a_query_that_fails_fails_no_other_of_its_batch() -> None:
    found = answers_of(FakeModel(), many("colour", "colour", "break", "colour", "careful"), batch_size=4)
    assert [str(answer) for answer in found] == ["It is red.", "It is red.", "this model broke", "It is red.", REFUSAL]


def test_queries_of_different_length_limits_are_not_mixed() -> None:
    model = FakeModel()
    answers_of(model, many("a", "b", "c", "d"), batch_size=4, limits=[8, 16, 8, 16])
    assert [[q.question for q in batch] for batch in model.batches] == [["a", "c"], ["b", "d"]]


def test_a_model_that_loses_an_answer_fails_the_batch_instead_of_hanging() -> None:
    class Lossy(FakeModel):
        def respond(self, requests: Sequence[Request], max_new_tokens: int) -> list[Response]:
            return []

    found = answers_of(Lossy(), many("a", "b"), batch_size=2)
    assert all("gave 0 answers to 1 requests" in str(answer) for answer in found)


def test_a_full_batch_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("davsp.evaluation.batching.QUIET_SECONDS", 3600)
    assert answers_of(FakeModel(), many(*["colour"] * 8), batch_size=4) == ["It is red."] * 8


def test_a_batch_has_at_least_one_request() -> None:
    with pytest.raises(InputError, match="batch size 0 is not possible"):
        Batcher(FakeModel(), 0)
