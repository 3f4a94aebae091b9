"""One question to a model on a server, behind a defence, without an evaluation around it."""

from __future__ import annotations

from functools import partial

from anyio import to_thread
from inspect_ai.model import GenerateConfig, Model

from davsp.data.query import Query
from davsp.defences.base import Defence, Exchange
from davsp.errors import BlockedRequest, ModelError
from davsp.evaluation import served
from davsp.evaluation.messages import reason_of_block, to_messages
from davsp.evaluation.served import ServerConnection
from davsp.models.requests import Request, Response
from davsp.models.served import inspect_model
from davsp.util.async_running import run_coroutine


def ask_served(name: str, query: Query, defence: Defence, max_new_tokens: int) -> str:
    """The greedy answer of the model that `name` stands for, URL=NAME, to a query behind a defence.

    Raises InputError where it cannot be had, ModelError when it fails, BlockedRequest when the service refuses.
    """
    model = inspect_model(name, GenerateConfig(max_retries=served.RETRIES, timeout=served.TIMEOUT, temperature=0))
    connection = ServerConnection()

    async def send(request: Request, limit: int | None) -> Response:
        return await connection.send(partial(put, model, request, limit or max_new_tokens))

    return run_coroutine(defence.answer(query, Exchange(send)))


async def put(model: Model, request: Request, max_new_tokens: int | None) -> Response:
    """Put a request to a model, and give its response. Raises ModelError when it says that it cannot answer,
    BlockedRequest when the service refuses."""
    messages = await to_thread.run_sync(to_messages, request)
    sampling = GenerateConfig(temperature=request.temperature, seed=request.seed) if request.temperature else None
    config = (sampling or GenerateConfig()).merge(GenerateConfig(max_tokens=max_new_tokens))
    output = await model.generate(messages, config=config)
    if (blocked := reason_of_block(output)) is not None:
        raise BlockedRequest(blocked)
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
