"""Calling the model behind a judge or a grader: once, without sampling, and with every failure given a reason."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from davsp.errors import InputError
from davsp.judges.prompting import Message
from davsp.judges.refusal import is_refusal
from davsp.judges.thinking import after_thinking

if TYPE_CHECKING:
    from inspect_ai.model import Model

ROLE = "judge"
"""The role of Inspect's that names the model of a judge to which none is bound: `--model-role judge=...`."""
RETRIES = 5
TIMEOUT = 300
"""Seconds for one call, its retries included."""


@dataclass(frozen=True)
class Reply:
    """What a model replied; `reason` says why that is of no use, `failed` that it gave no reply at all."""

    text: str
    reason: str | None = None
    failed: bool = False


def judging_model(model: Model | None) -> Model:
    """The model of a judge: the one given, or Inspect's role "judge". Raises Inspect's PrerequisiteError without."""
    from inspect_ai.model import get_model

    return model or get_model(role=ROLE, required=True)


def model_named(model: str | Model, **arguments: Any) -> Model:
    """An Inspect model by its name. Raises InputError where it cannot be had."""
    from inspect_ai.model import get_model

    if not isinstance(model, str):
        return model
    try:
        return get_model(model, **arguments)
    except Exception as error:  # a provider may raise anything: a package or a key is missing, the name is unknown
        raise InputError(f"the judge's model {model!r} cannot be used: {in_one_line(error)}") from error


async def reply_of(model: Model, messages: Sequence[Message], max_tokens: int) -> Reply:
    """A model's greedy reply. Raises nothing but Inspect's own limits, which stop a sample."""
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, GenerateConfig
    from inspect_ai.util import LimitExceededError

    kinds = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
    config = GenerateConfig(temperature=0.0, max_tokens=max_tokens, max_retries=RETRIES, timeout=TIMEOUT)
    try:
        output = await model.generate([kinds[m.role](content=m.text) for m in messages], config=config)
    except LimitExceededError:
        raise
    except Exception as error:
        return Reply("", f"the judge failed: {first_line(cause_of(error))}", failed=True)
    if output.error or not output.choices:
        return Reply("", f"the judge failed: {output.error or 'it gave no reply'}", failed=True)
    text = (after_thinking(output.completion) or "").strip()
    if output.stop_reason == "content_filter":
        return Reply(text, "the judge refused: its content filter stopped it")
    if output.stop_reason == "max_tokens":
        return Reply(text, f"the judge was cut off after {max_tokens} tokens")
    if not text:
        return Reply("", "the judge said nothing")
    return Reply(text)


def not_a_verdict(reply: str) -> str:
    """Why a reply that could not be parsed is of no use."""
    return f"the judge {'refused' if is_refusal(reply) else 'gave no verdict'}: {reply[:200]!r}"


def cause_of(error: Exception) -> Exception:
    """What the provider said, when Inspect raised an error: that of the last try."""
    from tenacity import RetryError

    last = error.last_attempt.exception() if isinstance(error, RetryError) else error
    # Inspect wraps what a provider raised in an error of its own, whose class it does not publish.
    cause = last.__cause__ if last is not None and type(last).__name__ == "ModelGenerateError" else last
    return cause if isinstance(cause, Exception) else error


def first_line(error: Exception) -> str:
    """An error in one line: its message's first, or its kind where it has none."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:300]}" if text else type(error).__name__


def in_one_line(error: Exception) -> str:
    """All that Inspect says is missing, without the marks for bold and blue."""
    return re.sub(r"\[/?\w*\]", "", " ".join(str(error).split())).removeprefix("ERROR: ")[:500]
