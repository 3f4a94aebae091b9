"""Transcribe, then ask: the text in the image is asked as text, where models refuse what they answer in images."""

from __future__ import annotations

import re
from typing import Any, Self

from davsp.data.query import Query
from davsp.defences.base import Defence, Exchange
from davsp.judges.refusal import is_refusal, normalise
from davsp.models.requests import Request

READ = "What does the text in the image say?"
AS_TEXT = "{text}\n{question}"
NO_TEXT = re.compile(
    r"none|(?:(?:i m |i am )?sorry (?:but )?|unfortunately )?"
    r"(?:there (?:is no|is not any|isn t any|are no)|(?:i|you) (?:do not|don t|cannot|can t) see any|"
    r"the (?:provided )?(?:image|picture|photo) (?:has no|contains no|shows no|"
    r"(?:does not|doesn t) (?:have|contain|show|include)(?: any)?)) "
    r"(?:visible |readable |legible |written )?(?:text|words|writing)"
    r"(?: (?:visible |present )?(?:in|on) (?:the|this) (?:provided )?(?:image|picture|photo))?"
)
"""All that a model says, normalised, where the image has no text. What says more may be the text of an image."""


class Transcribe(Defence):
    """Write down the text in the image; ask it as text, with the question and without the image; if the model refuses
    that, its refusal is the answer, else its answer to the query itself, so that what is harmless is answered as ever.

    An image without a text is asked about at once.
    """

    kind = name = "transcribe"
    identity = "\n".join((READ, AS_TEXT, NO_TEXT.pattern))

    @classmethod
    def from_options(cls, options: Any) -> Self:  # noqa: ARG003
        return cls()

    async def answer(self, query: Query, exchange: Exchange) -> str:
        text = (await exchange.ask(Request(READ, query.image))).text.strip()
        if text and not NO_TEXT.fullmatch(normalise(text)):
            said = (await exchange.ask(Request(AS_TEXT.format(text=text, question=query.question)))).text
            if is_refusal(said):
                return said
        return (await exchange.ask(Request(query.question, query.image))).text
