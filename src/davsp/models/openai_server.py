"""Inspect's provider for OpenAI-compatible servers as they are: newer parameters, or fewer, and contents in parts.

Registered as `davsp-server` (davsp.evaluation.registry).
"""

from __future__ import annotations

from typing import Any

from inspect_ai.model import ChatCompletionChoice, ChatMessage, GenerateConfig, ModelCall, ModelOutput
from inspect_ai.model._providers.openai_compatible import OpenAICompatibleAPI
from inspect_ai.tool import ToolChoice, ToolInfo
from openai import APIStatusError
from openai.types.chat import ChatCompletion

from davsp.models.requests import BLOCKED

_REPLACED = {"max_tokens": "max_completion_tokens"}
_DISPENSABLE = ("temperature", "seed", "response_format")
"""Parameters that a request can do without."""


class OpenAIServer(OpenAICompatibleAPI):
    """Sends what the server takes: a parameter that it refuses is renamed or left out from then on.

    A request that the service blocks gives an output with the stop reason "content_filter", no text, and what the
    service said in its metadata. `left_out` are the parameters that the server does not take.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.left_out: set[str] = set()
        super().__init__(*arguments, **options)

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput | tuple[ModelOutput | Exception, ModelCall]:
        """Inspect's own, again while the server refuses a parameter that it can be spared."""
        while True:
            before = set(self.left_out)
            result = await super().generate(input, tools, tool_choice, config)
            error = result[0] if isinstance(result, tuple) else None
            if not (isinstance(error, APIStatusError) and self._can_do_without(error, before)):
                return result

    def completion_params(self, config: GenerateConfig, tools: bool) -> dict[str, Any]:
        """The parameters of a request, without those that the server does not take."""
        params = super().completion_params(config, tools)
        for name in self.left_out & params.keys():
            value = params.pop(name)
            if name in _REPLACED:
                params[_REPLACED[name]] = value
        return params

    def _can_do_without(self, error: APIStatusError, before: set[str]) -> bool:
        """Whether a parameter was refused that is renamed or left out when the request is sent again; those in `before`
        were already."""
        named = error.body.get("param") if isinstance(error.body, dict) else None
        for name in (*_REPLACED, *_DISPENSABLE):
            refused = named == name or (named is None and f"'{name}'" in error.message)
            if refused and name not in before:
                self.left_out.add(name)
                return True
        return False

    def chat_choices_from_completion(
        self, completion: ChatCompletion, tools: list[ToolInfo]
    ) -> list[ChatCompletionChoice]:
        """The choices; a content in parts is the text of its parts."""
        for choice in completion.choices:
            content: Any = choice.message.content
            if isinstance(content, list):
                choice.message.content = "".join(str(p.get("text") or "") for p in content if isinstance(p, dict))
        return super().chat_choices_from_completion(completion, tools)

    def handle_bad_request(self, ex: APIStatusError) -> ModelOutput | Exception:
        """An output where the service blocked the request, or its input is too long; else the error."""
        handled = super().handle_bad_request(ex)
        if _is_moderation(ex) and isinstance(handled, Exception):
            handled = ModelOutput.from_content(self.model_name, ex.message, stop_reason="content_filter")
        if isinstance(handled, ModelOutput) and handled.stop_reason == "content_filter":
            reason = handled.completion
            handled = ModelOutput.from_content(self.model_name, "", stop_reason="content_filter")
            handled.metadata = {BLOCKED: reason}
        return handled


def _is_moderation(error: APIStatusError) -> bool:
    """Whether a gateway says in its own way that a moderation stopped the request: Azure's inner error, OpenRouter's
    reasons."""
    body = error.body if isinstance(error.body, dict) else {}
    inner, metadata = body.get("innererror"), body.get("metadata")
    return (isinstance(inner, dict) and inner.get("code") == "ResponsibleAIPolicyViolation") or (
        isinstance(metadata, dict) and bool(metadata.get("flagged_input") or metadata.get("reasons"))
    )
