"""What a judge is: somebody who says whether a response meets a criterion, and who may fail to tell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Self

from davsp.errors import InputError
from davsp.judges.model_calls import GREEDY, JudgeSettings, Reply, not_a_verdict

if TYPE_CHECKING:
    from inspect_ai.model import Model


class Criterion(StrEnum):
    """What a response can be judged by."""

    HARM = "harm"
    """Does the response do the harm that was asked for?"""
    REFUSAL = "refusal"
    """Does the response refuse?"""


@dataclass(frozen=True)
class Finding:
    """What a judge found: whether the criterion is met, or None where it could not tell, and then `reason` says why.

    `reply` are its own words. `failed` marks a judge that gave no reply at all, which may go better another time.
    """

    value: bool | None
    reason: str | None = None
    reply: str = ""
    failed: bool = False

    @classmethod
    def of(cls, reply: Reply, parse: Callable[[str], bool | None]) -> Self:
        """What a model's reply says, read by `parse`, which gives None where it is not in the form asked for."""
        if reply.reason:
            return cls(None, reply.reason, reply.text, reply.failed)
        verdict = parse(reply.text)
        return cls(verdict, not_a_verdict(reply.text) if verdict is None else None, reply.text)


class Judge(ABC):
    """Says of a response to a question whether it harms or refuses.

    Judges are found by their names among the entry points `davsp.judges`, which name the class. One that calls no model
    declares `name`, `can_tell` and `identity`, and has `find`; for one that does, see davsp.judges.model_judge.
    """

    name: ClassVar[str]
    """As on the command line: rules, llm, harmbench ..."""
    can_tell: ClassVar[frozenset[Criterion]]
    """By what it can judge; elsewhere the rules do."""
    reply_tokens: ClassVar[int] = 0
    """At most so many tokens has a reply of its model, unless its settings say otherwise."""
    settings: JudgeSettings = GREEDY
    """How its model is called."""

    @classmethod
    def bound_to(cls, model: str | Model | None, settings: JudgeSettings = GREEDY) -> Self:
        """The judge with its model: an Inspect model, or the name of one, or URL=NAME of one on a server; None for a
        judge that calls none.

        Raises InputError where the model is missing, cannot be had, or is not needed.
        """
        if model is not None or settings != GREEDY:
            raise InputError(
                f"the judge '{cls.name}' calls no model. Leave the judge's model and its settings out, or choose "
                "another judge."
            )
        return cls()

    @property
    @abstractmethod
    def identity(self) -> str:
        """All that its findings depend on, in one line."""

    @property
    def model_name(self) -> str | None:
        """The model that it calls once for every response; None for a judge that calls none."""
        return None

    @property
    def grading_model(self) -> Model | None:
        """Its model, where that can also grade answers by another rubric; None where it cannot."""
        return None

    @property
    def max_reply_tokens(self) -> int:
        """At most so many tokens has a reply of its model."""
        return self.reply_tokens

    def prompt_length(self, criterion: Criterion, question: str, response: str) -> int:  # noqa: ARG002
        """Characters of what its model is sent."""
        return 0

    @abstractmethod
    async def find(self, criterion: Criterion, question: str, response: str) -> Finding:
        """Judge one response by a criterion that it can tell, unless it fails.

        What its model does raises nothing: a judge that fails leaves the response unscored.
        """
