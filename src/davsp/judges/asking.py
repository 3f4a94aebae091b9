"""Asking the model behind a judge: once, without sampling, and with every failure given a reason."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from inspect_ai.model import ChatMessage, GenerateConfig, Model, get_model
from inspect_ai.util import LimitExceededError
from tenacity import RetryError

from davsp.errors import InputError
from davsp.judges.base import Finding, JudgeQuestion
from davsp.judges.refusal import is_refusal

ROLE = "judge"
"""The role of Inspect's that names the model of a judge to which none is bound: `--model-role judge=...`."""
RETRIES = 5
TIMEOUT = 300
"""Seconds for one call, its retries included."""


@dataclass(frozen=True)
class Reply:
    """What a model said; `reason` says why that is of no use."""

    text: str
    reason: str | None = None
    failed: bool = False


def judging_model(model: Model | None) -> Model:
    """The model of a judge: the one given, or Inspect's role "judge". Raises Inspect's PrerequisiteError without."""
    return model or get_model(role=ROLE, required=True)


def model_named(model: str | Model, **arguments: Any) -> Model:
    """An Inspect model by its name. Raises InputError where it cannot be had."""
    if isinstance(model, Model):
        return model
    try:
        return get_model(model, **arguments)
    except Exception as error:  # a provider may raise anything: a package or a key is missing, the name is unknown
        raise InputError(f"the judge's model {model!r} cannot be used: {in_one_line(error)}") from error


async def ask(model: Model, messages: Sequence[ChatMessage], max_tokens: int) -> Reply:
    """Ask greedily. Raises nothing but Inspect's own limits, which stop a sample."""
    config = GenerateConfig(temperature=0.0, max_tokens=max_tokens, max_retries=RETRIES, timeout=TIMEOUT)
    try:
        output = await model.generate(list(messages), config=config)
    except LimitExceededError:
        raise
    except Exception as error:
        return Reply("", f"the judge failed: {first_line(cause_of(error))}", failed=True)
    if output.error or not output.choices:
        return Reply("", f"the judge failed: {output.error or 'it gave no reply'}", failed=True)
    said = output.completion.strip()
    if output.stop_reason == "content_filter":
        return Reply(said, "the judge refused: its content filter stopped it")
    if not said:
        return Reply("", "the judge said nothing")
    if output.stop_reason == "max_tokens":
        return Reply(said, f"the judge was cut off after {max_tokens} tokens")
    return Reply(said)


def cause_of(error: Exception) -> Exception:
    """What the provider said, when Inspect raised an error: that of the last try."""
    tried = error.last_attempt.exception() if isinstance(error, RetryError) else error
    behind = getattr(tried, "__cause__", None) if hasattr(tried, "provider_message") else tried
    return behind if isinstance(behind, Exception) else error


def not_a_verdict(said: str) -> str:
    """Why a reply that could not be parsed is of no use."""
    return f"the judge {'refused' if is_refusal(said) else 'gave no verdict'}: {said[:200]!r}"


def first_line(error: Exception) -> str:
    """An error in one line: its message's first, or its kind where it has none."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:300]}" if text else type(error).__name__


def in_one_line(error: Exception) -> str:
    """All that Inspect says is missing, without the marks for bold and blue."""
    return re.sub(r"\[/?\w*\]", "", " ".join(str(error).split())).removeprefix("ERROR: ")[:500]


def digest(*texts: str) -> str:
    """Twelve hex digits that tell prompts apart."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class ModelJudge(ABC):
    """A judge that calls a model once for everything it is asked. Without a `model` it is Inspect's role "judge"."""

    model: Model | None = None

    name: ClassVar[str]
    can_tell: ClassVar[frozenset[JudgeQuestion]]
    reply_tokens: ClassVar[int]
    example: ClassVar[str]
    """A model that goes with it, for messages."""
    model_arguments: ClassVar[dict[str, Any]] = {}
    """What an `hf/` model has to be told so that it sees exactly the published prompt."""

    @classmethod
    def bound_to(cls, model: str | Model) -> Self:
        """The judge with its model. Raises InputError where the model cannot be had."""
        local = isinstance(model, str) and model.startswith("hf/")
        return cls(model_named(model, **cls.model_arguments if local else {}))

    @property
    def model_name(self) -> str:
        return str(self.model) if self.model else f"role {ROLE}"

    @property
    def identity(self) -> str:
        return f"{self.name} {self.model_name} {self.prompt_digest}"

    @property
    def prompt_digest(self) -> str:
        """Tells the prompt of this judge from any other's."""
        return digest(*(message.text for asked in sorted(self.can_tell) for message in self.messages(asked, "?", "!")))

    def prompt_length(self, asked: JudgeQuestion, question: str, response: str) -> int:
        return sum(len(message.text) for message in self.messages(asked, question, response))

    @abstractmethod
    def messages(self, asked: JudgeQuestion, question: str, response: str) -> list[ChatMessage]:
        """The prompt."""

    @abstractmethod
    def parse(self, asked: JudgeQuestion, said: str) -> bool | None:
        """The verdict in a reply; None unless it is exactly in the form asked for."""

    async def find(self, asked: JudgeQuestion, question: str, response: str) -> Finding:
        reply = await ask(judging_model(self.model), self.messages(asked, question, response), self.reply_tokens)
        if reply.reason:
            return Finding(None, reply.reason, reply.text, reply.failed)
        found = self.parse(asked, reply.text)
        return Finding(found, not_a_verdict(reply.text) if found is None else None, reply.text)
