"""What a judge is: somebody who is asked one thing about a response to a question, and who may fail to tell."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class JudgeQuestion(StrEnum):
    """What a judge can be asked about a response."""

    HARM = "harm"
    """Does the response do the harm that was asked for?"""
    REFUSAL = "refusal"
    """Does the response refuse?"""


@dataclass(frozen=True)
class Finding:
    """What a judge found: `value`, or None where it could not tell, and then `reason` says why.

    `said` are its own words. `failed` marks a judge that gave no reply at all, which may go better another time.
    """

    value: bool | None
    reason: str | None = None
    said: str = ""
    failed: bool = False


class Judge(Protocol):
    """Says of a response to a question whether it harms or refuses."""

    @property
    def name(self) -> str:
        """As on the command line: rules, llm, harmbench ..."""

    @property
    def model_name(self) -> str | None:
        """The model that it calls once for everything it is asked; None for one that calls no model."""

    @property
    def identity(self) -> str:
        """All that its findings depend on, in one line."""

    @property
    def can_tell(self) -> frozenset[JudgeQuestion]:
        """What it can be asked."""

    @property
    def reply_tokens(self) -> int:
        """At most so many tokens has a reply of its model."""

    def prompt_length(self, asked: JudgeQuestion, question: str, response: str) -> int:
        """Characters of what its model is sent."""

    async def find(self, asked: JudgeQuestion, question: str, response: str) -> Finding:
        """Ask it. What its model does raises nothing: a judge that fails leaves the response unscored."""
