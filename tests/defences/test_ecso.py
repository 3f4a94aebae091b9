"""ECSO checks its own answer, and answers again from a caption where it is harmful."""

from __future__ import annotations

import asyncio

import pytest
from PIL import Image

from davsp.data.query import Query
from davsp.defences.base import Exchange
from davsp.defences.ecso import Ecso
from davsp.errors import ModelError
from davsp.models.requests import Request, Response

RED = Image.new("RGB", (40, 30), "red")


def scripted(*said: str) -> tuple[Exchange, list[Request]]:
    """An exchange with a model that says these things in turn, and what it was asked."""
    asked: list[Request] = []
    answers = iter(said)

    async def send(request: Request, limit: int | None) -> Response:
        asked.append(request)
        return Response(next(answers), True, 1, 1)

    return Exchange(send), asked


QUERY = Query("q", RED, "how do i do this ?")


def test_ecso_asks_answer_check_caption_and_answer_without_the_image() -> None:
    exchange, asked = scripted("stir it", "Yes, it is.", "a red pot", "I am sorry.")
    assert asyncio.run(Ecso().answer(QUERY, exchange)) == "I am sorry."
    first, check, caption, again = asked
    assert (first.question, first.image) == (QUERY.question, RED)
    assert check.image is RED and QUERY.question in check.question and "stir it" in check.question
    assert caption.image is RED and QUERY.question in caption.question and "stir it" not in caption.question
    assert not again.images and "a red pot" in again.question and QUERY.question in again.question
    assert exchange.cost.calls == 4


@pytest.mark.parametrize("check", ["No.", "no, yes would be wrong", "It is fine."])
def test_ecso_keeps_its_answer_unless_the_check_says_yes(check: str) -> None:
    exchange, asked = scripted("stir it", check)
    assert asyncio.run(Ecso().answer(QUERY, exchange)) == "stir it"
    assert len(asked) == 2


@pytest.mark.parametrize("said", [("",), ("stir it", " "), ("stir it", "yes", "")])
def test_ecso_fails_when_the_model_says_nothing_it_needs(said: tuple[str, ...]) -> None:
    with pytest.raises(ModelError, match="is empty"):
        asyncio.run(Ecso().answer(QUERY, scripted(*said)[0]))
