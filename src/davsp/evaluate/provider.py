"""Inspect's `davsp/...` models: local vision-language models, images included, in true batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from anyio import to_thread
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ContentImage,
    ContentText,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from davsp.errors import InputError, ModelError
from davsp.evaluate.media import decode_image
from davsp.models.requests import Request, Response
from davsp.prompts.text import with_prefix

QUIET_SECONDS = 0.05
"""A batch that is not full starts when no request arrived for so long."""


class LocalModel(Protocol):
    """What the provider needs of a model; davsp.models.VisionLanguageModel has it."""

    name: str

    def respond(self, requests: Sequence[Request], max_new_tokens: int) -> list[Response]:
        """The responses to a batch of requests, in their order."""


class DavspAPI(ModelAPI):
    """Serves a local vision-language model to Inspect, greedily, or sampling by a seed.

    `--model davsp/<name or folder>` loads it; `-M batch_size=32 -M device=cuda` are some of its options.
    `local_model` hands over a model that is loaded already. Raises InputError for what the model cannot do:
    sampling without a seed, tools, a conversation, or anything but a text with one image or none.
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
        self._batcher = Batcher(local_model, batch_size)

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,  # noqa: ARG002 - part of Inspect's interface
        config: GenerateConfig,
    ) -> ModelOutput:
        """Answer one turn; it shares a batch with the others that wait."""
        if tools:
            raise InputError("davsp models use no tools. Evaluate without tools.")
        temperature = config.temperature or 0.0
        if temperature and config.seed is None:
            raise InputError(f"davsp models sample by a seed: give one with temperature {temperature:g}, or use 0.")
        image, text, begun = one_turn(input)
        request = Request(
            question=text,
            image=None if image is None else await to_thread.run_sync(decode_image, image),
            begun=begun,
            temperature=temperature,
            seed=config.seed or 0,
        )
        return self._output(await self._batcher.answer(request, config.max_tokens or self.max_tokens()))

    def _output(self, response: Response) -> ModelOutput:
        message = ChatMessageAssistant(content=response.text, model=self.model_name, source="generate")
        read, said = response.input_tokens or 0, response.output_tokens or 0
        return ModelOutput(
            model=self.model_name,
            choices=[ChatCompletionChoice(message=message, stop_reason="stop" if response.finished else "max_tokens")],
            usage=ModelUsage(input_tokens=read, output_tokens=said, total_tokens=read + said),
        )

    def max_tokens(self) -> int:
        """New tokens when the task does not say."""
        return 256

    def max_connections(self) -> int:
        """Two batches: one being computed, one being prepared."""
        return 2 * self._batcher.batch_size

    def connection_key(self) -> str:
        """Every loaded model has its own queue."""
        return f"{self.model_name}-{id(self._batcher)}"

    def close(self) -> None:
        """Let the worker thread end."""
        self._batcher.close()


def one_turn(messages: Sequence[ChatMessage]) -> tuple[str | None, str, str]:
    """The image (a data URI, or None) and the text of a conversation, and how its answer begins.

    A system message stands before the text. Raises InputError unless there is one user message with some text and at
    most one image, after at most one system message and before at most one assistant message, which the answer goes on
    from.
    """
    system = [m.text for m in messages if isinstance(m, ChatMessageSystem)]
    users = [m for m in messages if isinstance(m, ChatMessageUser)]
    begun = [m.text for m in messages[-1:] if isinstance(m, ChatMessageAssistant)]
    if len(users) != 1 or len(system) > 1 or len(messages) != len(users) + len(system) + len(begun):
        roles = ", ".join(m.role for m in messages) or "none"
        raise InputError(
            "davsp models take one user message, at most one system message, and at most one assistant message at the "
            f"end that the answer goes on from, not: {roles}."
        )
    content = users[0].content
    parts = [ContentText(text=content)] if isinstance(content, str) else content
    images = [part.image for part in parts if isinstance(part, ContentImage)]
    texts = [part.text for part in parts if isinstance(part, ContentText)]
    if len(images) > 1 or not texts or len(parts) != len(images) + len(texts):
        kinds = ", ".join(part.type for part in parts) or "nothing"
        raise InputError(f"davsp models take one image or none, and a text in a message, not: {kinds}.")
    return (*images, None)[0], with_prefix("\n".join(texts), "\n".join(system)), "".join(begun)


def one_image_and_text(messages: Sequence[ChatMessage]) -> tuple[str, str]:
    """The image (a data URI) and the text of a query. Raises InputError where `one_turn` does, or without an image."""
    image, text, begun = one_turn(messages)
    if image is None or begun:
        raise InputError("davsp's defences take one image and a text in one user message. Give both, and no answer.")
    return image, text


@dataclass(eq=False)
class _Waiting:
    request: Request
    max_new_tokens: int
    answer: asyncio.Future[Response]


class Batcher:
    """Collects requests that arrive at the same time and answers them in batches, in one worker thread.

    A batch that fails fails its own requests and no other.
    """

    def __init__(self, model: LocalModel, batch_size: int) -> None:
        if batch_size < 1:
            raise InputError(f"batch size {batch_size} is not possible. Use 1 or more.")
        self.batch_size = batch_size
        self._model = model
        self._waiting: list[_Waiting] = []
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="davsp-generate")
        self._running: asyncio.Task[None] | None = None

    async def answer(self, request: Request, max_new_tokens: int) -> Response:
        """The model's response to one request."""
        waiting = _Waiting(request, max_new_tokens, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run_batches())
        return await waiting.answer

    def close(self) -> None:
        """End the worker thread; batches that wait are dropped."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def _run_batches(self) -> None:
        while self._waiting:
            await self._until_full_or_quiet()
            batch = self._next_batch()
            if batch:
                await self._run(batch)

    async def _until_full_or_quiet(self) -> None:
        seen = -1
        while seen < len(self._waiting) < self.batch_size:
            seen = len(self._waiting)
            await asyncio.sleep(QUIET_SECONDS)

    def _next_batch(self) -> list[_Waiting]:
        """The requests that wait longest and want the same number of tokens; cancelled ones are dropped."""
        self._waiting = [w for w in self._waiting if not w.answer.done()]
        batch = [w for w in self._waiting if w.max_new_tokens == self._waiting[0].max_new_tokens][: self.batch_size]
        self._waiting = [w for w in self._waiting if w not in batch]
        return batch

    async def _run(self, batch: list[_Waiting]) -> None:
        requests, max_new_tokens = [w.request for w in batch], batch[0].max_new_tokens
        try:
            answers = await asyncio.get_running_loop().run_in_executor(
                self._worker, self._model.respond, requests, max_new_tokens
            )
            if len(answers) != len(batch):
                raise ModelError(f"{self._model.name} gave {len(answers)} answers to {len(batch)} requests.")
        except Exception as error:
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
        else:
            for waiting, answer in zip(batch, answers, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)
