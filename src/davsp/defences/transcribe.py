"""Transcribe, then ask: the text in the image is asked as text, where models refuse what they answer in images."""

from __future__ import annotations

import re
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from davsp.data.conversation import without_images
from davsp.data.query import Query
from davsp.defences.base import Defence, Exchange
from davsp.judges.refusal import is_refusal, normalise
from davsp.models.requests import Request

READ = "What does the text in the image say?"
NO_TEXT = re.compile(
    r"none|(?:(?:i m |i am )?sorry (?:but )?|unfortunately )?"
    r"(?:there (?:is no|is not any|isn t any|are no)|(?:i|you) (?:do not|don t|cannot|can t) see any|"
    r"the (?:provided )?(?:image|picture|photo) (?:has no|contains no|shows no|"
    r"(?:does not|doesn t) (?:have|contain|show|include)(?: any)?)) "
    r"(?:visible |readable |legible |written )?(?:text|words|writing)"
    r"(?: (?:visible |present )?(?:in|on) (?:the|this) (?:provided )?(?:image|picture|photo))?"
)
"""All that a model says, normalised, where the image has no text. What says more may be the text of an image."""


class TranscribeOptions(BaseModel):
    """What is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    read: str = Field(READ, description="What has the model write down the text in the image.")
    question: bool = Field(True, description="Ask the text after the question; false: the text alone.")


class Transcribe(Defence):
    """Write down the text in the image; ask it as text, without the image; if the model refuses that, its refusal is
    the answer, else its answer to the query itself, so that what is harmless is answered as ever.

    An image without a text is asked about at once. Each image of a conversation is transcribed; the texts of all are
    asked with what its user says last.
    """

    kind = "transcribe"
    Options = TranscribeOptions

    def __init__(self, options: TranscribeOptions) -> None:
        self.options = options
        # With and without the question it is two defences.
        self.name = self.kind if options.question else f"{self.kind}:question=false"

    @classmethod
    def from_options(cls, options: TranscribeOptions) -> Self:
        return cls(options)

    @property
    def identity(self) -> str:
        return f"{self.options.model_dump_json()} {NO_TEXT.pattern}"

    async def answer(self, query: Query, exchange: Exchange) -> str:
        written = [(await exchange.ask(Request(self.options.read, image))).text.strip() for image in query.images]
        if texts := [text for text in written if text and not NO_TEXT.fullmatch(normalise(text))]:
            asked = query.with_question("\n".join([query.question, *texts] if self.options.question else texts))
            said = (await exchange.ask(Request(without_images(asked.messages)))).text
            if is_refusal(said):
                return said
        return (await exchange.ask(Request(query.messages))).text
