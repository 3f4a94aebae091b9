"""Judges that call a model."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Self

from davsp.errors import InputError
from davsp.judges.base import Criterion, Finding, Judge
from davsp.judges.model_calls import GREEDY, ROLE, JudgeSettings, judging_model, reply_of
from davsp.judges.prompting import Message, digest, length
from davsp.models.served import inspect_model

if TYPE_CHECKING:
    from inspect_ai.model import Model, ResponseSchema

LOCAL = "hf/"
"""What the names of models begin with that Inspect loads in this process."""


@dataclass(frozen=True)
class ModelJudge(Judge):
    """A judge that calls a model once for every response. Without a `model` it is Inspect's role "judge".

    A subclass declares `name`, `can_tell`, `reply_tokens` and `example`, and has `messages` and `parse`.
    """

    model: Model | None = None
    settings: JudgeSettings = GREEDY

    example: ClassVar[str]
    """A model that goes with it, for messages."""
    model_arguments: ClassVar[dict[str, Any]] = {}
    """What an `hf/` model has to be told so that it sees exactly the published prompt."""

    @classmethod
    def bound_to(cls, model: str | Model | None, settings: JudgeSettings = GREEDY) -> Self:
        if find_spec("inspect_ai") is None:
            raise InputError(
                f"the judge '{cls.name}' needs Inspect, which is not installed. Run: pip install 'davsp[eval]'"
            )
        if model is None:
            raise InputError(
                f"the judge '{cls.name}' calls a model, and none is bound. Give one: --judge-model {cls.example}"
            )
        local = isinstance(model, str) and model.startswith(LOCAL)
        judge = cls.for_checkpoint(str(model).removeprefix(LOCAL) if local else None)
        arguments = cls.model_arguments if local else {}
        bound = inspect_model(model, **arguments) if isinstance(model, str) else model
        return replace(judge, model=bound, settings=settings)

    @classmethod
    def for_checkpoint(cls, checkpoint: str | None) -> Self:  # noqa: ARG003 - for judges that read it
        """The judge, its model not yet bound. `checkpoint`: the folder or hub id of a model that is loaded here.

        Raises InputError where the checkpoint does not hold what the judge reads of it.
        """
        return cls()

    @property
    def model_name(self) -> str:
        return str(self.model) if self.model else f"role {ROLE}"

    @property
    def identity(self) -> str:
        told = "" if self.settings == GREEDY else f" {self.settings}"
        return f"{self.name} {self.model_name} {self.prompt_digest}{told}"

    @property
    def max_reply_tokens(self) -> int:
        return self.settings.tokens or self.reply_tokens

    @property
    def prompt_digest(self) -> str:
        """Tells the prompt of this judge from any other's."""
        prompts = [self.messages(criterion, "?", "!") for criterion in sorted(self.can_tell)]
        return digest(*(message.text for prompt in prompts for message in prompt))

    def prompt_length(self, criterion: Criterion, question: str, response: str) -> int:
        return length(self.messages(criterion, question, response))

    @abstractmethod
    def messages(self, criterion: Criterion, question: str, response: str) -> list[Message]:
        """The prompt."""

    def schema(self) -> ResponseSchema | None:
        """The JSON schema of its replies, for servers that can hold a model to one; None for those of another form."""
        return None

    @abstractmethod
    def parse(self, criterion: Criterion, reply: str) -> bool | None:
        """The verdict in a reply; None unless it is exactly in the form asked for."""

    async def find(self, criterion: Criterion, question: str, response: str) -> Finding:
        messages = self.messages(criterion, question, response)
        reply = await reply_of(judging_model(self.model), messages, self.reply_tokens, self.settings, self.schema())
        return Finding.of(reply, partial(self.parse, criterion))
