"""Inspect's `davsp/...` models: local vision-language models, images included, in true batches."""

from __future__ import annotations

from typing import Any

from anyio import to_thread
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from davsp.errors import InputError
from davsp.evaluation.batching import Batcher, LocalModel
from davsp.evaluation.messages import read_messages, token_usage
from davsp.models.requests import Request, Response


class DavspAPI(ModelAPI):
    """Serves a local vision-language model to Inspect, greedily, or sampling by a seed.

    `--model davsp/<name or folder>` loads it; `-M batch_size=32 -M device=cuda` are some of its options.
    `local_model` hands over a model that is loaded already. Raises InputError for what the model cannot do:
    sampling without a seed, tools, or anything but texts and images.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        local_model: LocalModel | None = None,
        batch_size: int = 16,
        **options: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        if local_model is None:
            from davsp.models.loading import load_model

            local_model = load_model(model_name, **options)
        self.batcher = Batcher(local_model, batch_size)

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,  # noqa: ARG002 - part of Inspect's interface
        config: GenerateConfig,
    ) -> ModelOutput:
        """Answer a conversation; it shares a batch with the others that wait."""
        if tools:
            raise InputError("davsp models use no tools. Evaluate without tools.")
        temperature = config.temperature or 0.0
        if temperature and config.seed is None:
            raise InputError(f"davsp models sample by a seed: give one with temperature {temperature:g}, or use 0.")
        messages, begun = await to_thread.run_sync(read_messages, input)
        request = Request(messages, begun=begun, temperature=temperature, seed=config.seed or 0)
        return self._output(await self.batcher.respond(request, config.max_tokens or self.max_tokens()))

    def _output(self, response: Response) -> ModelOutput:
        message = ChatMessageAssistant(content=response.text, model=self.model_name, source="generate")
        return ModelOutput(
            model=self.model_name,
            choices=[ChatCompletionChoice(message=message, stop_reason="stop" if response.finished else "max_tokens")],
            usage=token_usage(response),
        )

    def max_tokens(self) -> int:
        """New tokens when the task does not say."""
        return 256

    def max_connections(self) -> int:
        """Two batches: one being computed, one being prepared."""
        return 2 * self.batcher.batch_size

    def connection_key(self) -> str:
        """Every loaded model has its own queue."""
        return f"{self.model_name}-{id(self.batcher)}"

    def close(self) -> None:
        """Let the worker thread end."""
        self.batcher.close()
