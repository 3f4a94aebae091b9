"""A defence as an Inspect solver: it answers each query behind the defence, and notes what that cost."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

from anyio import to_thread
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageUser,
    Content,
    ContentImage,
    ContentText,
    GenerateConfig,
    ModelOutput,
    get_model,
)
from inspect_ai.solver import Generate, Solver, TaskState, solver
from PIL import Image

from davsp.data.query import Query
from davsp.defences.base import Defence, Exchange
from davsp.errors import ModelError
from davsp.evaluate.media import decode_image, encode_image
from davsp.evaluate.provider import one_image_and_text
from davsp.evaluate.served import ServerConnection
from davsp.imaging.opening import open_image
from davsp.models.requests import Request, Response

COST = "davsp:cost"
"""Where a sample's store holds the fields of `QueryCost`, and `began` and `ended` in POSIX seconds."""


@solver
def behind(defence: Defence, line: ServerConnection | None = None) -> Solver:
    """Answer each query behind a defence, with any Inspect model; the whole solver of a task.

    The defence sees image and question, never the label or the reference answer. If it raises, the sample
    fails: the undefended query is never sent instead. `line` is that to a model on a server.
    """

    async def send(request: Request, max_new_tokens: int | None) -> Response:
        if line is None:
            return await _send(request, max_new_tokens)
        return await line.send(lambda: _send(request, max_new_tokens))

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001
        began = time.time()
        image, question = one_image_and_text(state.messages)
        query = Query(str(state.sample_id), await to_thread.run_sync(decode_image, image), question)
        exchange = Exchange(send)
        answer = await defence.answer(query, exchange)
        state.output = ModelOutput.from_content(str(get_model()), answer)
        state.messages.append(state.output.message)
        state.store.set(COST, {**asdict(exchange.cost), "began": began, "ended": time.time()})
        return state

    return solve


async def _send(request: Request, max_new_tokens: int | None) -> Response:
    """Put a request to the model that is evaluated. Raises ModelError when it says that it cannot answer."""
    content: list[Content] = [ContentText(text=request.question)]
    if request.image is not None:
        content.insert(0, ContentImage(image=await to_thread.run_sync(_encode, request.image)))
    messages: list[ChatMessage] = [ChatMessageUser(content=content)]
    if request.begun:
        messages.append(ChatMessageAssistant(content=request.begun))
    sampling = GenerateConfig(temperature=request.temperature, seed=request.seed) if request.temperature else None
    config = (sampling or GenerateConfig()).merge(GenerateConfig(max_tokens=max_new_tokens))
    output = await get_model().generate(messages, config=config)
    if output.error:
        raise ModelError(f"{output.model} gave no answer: {output.error}")
    usage = output.usage
    return Response(
        output.completion,
        output.stop_reason == "stop",
        usage.input_tokens + (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)
        if usage
        else None,
        usage.output_tokens if usage else None,
    )


def _encode(image: Path | bytes | Image.Image) -> str:
    return encode_image(open_image(image))
