"""Judges for tests: models that reply what a test says, and what a judge finds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from davsp.judges import Criterion, Finding

pytest.importorskip("inspect_ai")

from inspect_ai.model import GenerateConfig, Model, ModelOutput, ModelUsage, get_model


def mock(reply: str | Exception | ModelOutput | Callable[[list[Any]], str]) -> Model:
    """A model that always gives this reply, or raises, or answers what a function makes of its messages."""

    def outputs(messages: Any, tools: Any, choice: Any, config: GenerateConfig) -> ModelOutput:
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, ModelOutput):
            output = reply
        else:
            output = ModelOutput.from_content("mockllm/model", reply if isinstance(reply, str) else reply(messages))
        return output.model_copy(update={"usage": ModelUsage()})  # else the mock would fetch a tokenizer to count

    return get_model("mockllm/model", custom_outputs=outputs, memoize=False)


def found_by(judge: Any, criterion: Criterion = Criterion.HARM, response: str = "a response") -> Finding:
    finding: Finding = asyncio.run(judge.find(criterion, "a question", response))
    return finding
