"""Calling the model behind a judge or a grader: once, and with every failure given a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from davsp.judges.prompting import Message
from davsp.judges.refusal import is_refusal
from davsp.judges.thinking import after_thinking
from davsp.util.failures import cause_of, first_line

if TYPE_CHECKING:
    from inspect_ai.model import Model, ResponseSchema

ROLE = "judge"
"""The role of Inspect's that names the model of a judge to which none is bound: `--model-role judge=...`."""
RETRIES = 5
TIMEOUT = 300
"""Seconds for one call, its retries included."""


@dataclass(frozen=True)
class JudgeSettings:
    """How a judge's model is called: with at most `tokens` in its reply, its thinking included, or its own number where
    that is None; and greedily, or at a `temperature` above 0."""

    tokens: int | None = None
    temperature: float = 0.0


GREEDY = JudgeSettings()


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


async def reply_of(
    model: Model,
    messages: Sequence[Message],
    max_tokens: int,
    settings: JudgeSettings,
    schema: ResponseSchema | None = None,
) -> Reply:
    """A model's reply, of `max_tokens` unless `settings` say otherwise. `schema`: what a server that can do so holds it
    to. Raises nothing but Inspect's own limits, which stop a sample."""
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, GenerateConfig
    from inspect_ai.util import LimitExceededError

    kinds = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
    tokens = settings.tokens or max_tokens
    config = GenerateConfig(
        temperature=settings.temperature,
        max_tokens=tokens,
        max_retries=RETRIES,
        timeout=TIMEOUT,
        response_schema=schema,
    )
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
        return Reply(text, f"the judge was cut off after {tokens} tokens: give it more (--judge-tokens)")
    if not text:
        return Reply("", "the judge said nothing")
    return Reply(text)


def not_a_verdict(reply: str) -> str:
    """Why a reply that could not be parsed is of no use."""
    return f"the judge {'refused' if is_refusal(reply) else 'gave no verdict'}: {reply[:200]!r}"
