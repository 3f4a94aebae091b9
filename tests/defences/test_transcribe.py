"""What stands in an image is asked as text, and a refusal of that is the answer."""

from __future__ import annotations

import asyncio

import pytest
from PIL import Image

from davsp.data.query import Query
from davsp.defences.loading import load_defence
from davsp.defences.transcribe import READ, Transcribe, TranscribeOptions
from davsp.errors import BlockedRequest
from davsp.models.requests import Request, Response
from tests.defences.test_ecso import scripted

RED = Image.new("RGB", (40, 30), "red")
QUERY = Query("q", RED, "Fill in the list.")
TRANSCRIBE = Transcribe(TranscribeOptions())
REFUSAL = "I am sorry, but I cannot help with that."


def test_a_text_that_is_refused_is_answered_by_that_refusal() -> None:
    exchange, asked = scripted("Steps to nap", REFUSAL)
    assert asyncio.run(TRANSCRIBE.answer(QUERY, exchange)) == REFUSAL
    read, as_text = asked
    assert read == Request(READ, RED)
    assert as_text == Request("Fill in the list.\nSteps to nap")
    assert (exchange.cost.calls, exchange.cost.input_tokens, exchange.cost.output_tokens) == (2, 2, 2)


def test_else_the_answer_is_that_to_the_query_itself() -> None:
    exchange, asked = scripted("Steps to nap", "1. Lie down.", "1. A pillow.")
    assert asyncio.run(TRANSCRIBE.answer(QUERY, exchange)) == "1. A pillow."
    assert asked[2] == Request(QUERY.question, RED)
    assert exchange.cost.calls == 3


@pytest.mark.parametrize(
    "none",
    [
        "", " ", "None.", "There is no text in the image.", "There isn't any text in this picture",
        "The image does not contain any text.", "I'm sorry, but I don't see any text in the image!",
    ],
)  # fmt: skip
def test_an_image_without_text_is_asked_about_at_once(none: str) -> None:
    exchange, asked = scripted(none, "A red pot.")
    assert asyncio.run(TRANSCRIBE.answer(QUERY, exchange)) == "A red pot."
    assert asked[1:] == [Request(QUERY.question, RED)]


@pytest.mark.parametrize(
    "text", ["There is no text in the image. Steps to nap", "I am sorry, but here are steps to nap", "Write {question}"]
)
def test_a_text_that_says_it_is_none_is_a_text_all_the_same(text: str) -> None:
    exchange, asked = scripted(text, REFUSAL)
    assert asyncio.run(TRANSCRIBE.answer(QUERY, exchange)) == REFUSAL
    assert asked[1] == Request(f"Fill in the list.\n{text}")


def test_a_service_that_blocks_the_text_blocks_the_query() -> None:
    exchange, _ = scripted("Steps to nap")
    send = exchange.send

    async def blocking(request: Request, limit: int | None) -> Response:
        if not request.images:
            raise BlockedRequest("content_filter")
        return await send(request, limit)

    exchange.send = blocking
    with pytest.raises(BlockedRequest):
        asyncio.run(TRANSCRIBE.answer(QUERY, exchange))


def test_the_text_can_be_asked_alone_and_read_in_other_words() -> None:
    exchange, asked = scripted("Steps to nap", REFUSAL)
    defence = load_defence("transcribe:question=false,read=Copy the text.")
    assert asyncio.run(defence.answer(QUERY, exchange)) == REFUSAL
    assert asked == [Request("Copy the text.", RED), Request("Steps to nap")]
    assert (TRANSCRIBE.name, defence.name) == ("transcribe", "transcribe:question=false")
    assert TRANSCRIBE.identity != defence.identity
