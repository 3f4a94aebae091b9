"""A defence as an Inspect solver: it answers each query behind the defence, and notes what that cost."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial

from anyio import to_thread
from inspect_ai.log import transcript
from inspect_ai.model import ModelOutput, get_model
from inspect_ai.solver import Generate, Solver, TaskState, solver

from davsp.data.query import Query
from davsp.defences.base import Defence, Exchange
from davsp.errors import BlockedRequest
from davsp.evaluation.asking import put
from davsp.evaluation.batching import Batcher
from davsp.evaluation.inspect_internals import count_usage
from davsp.evaluation.messages import as_record, read_query, token_usage
from davsp.evaluation.opened import OpenedQueries
from davsp.evaluation.served import ServerConnection
from davsp.models.requests import BLOCKED, Request, Response

COST = "davsp:cost"
"""Where a sample's store holds the fields of `QueryCost`, and `began` and `ended` in POSIX seconds."""
UNFAMILIAR = "davsp_unfamiliar"
"""Where it holds whether the defence knows no query of that kind, if the defence can tell."""
ALARM = "davsp_alarm"
"""Where it holds whether the defence's alarm was raised, if it has one."""


@solver
def behind(defence: Defence, connection: ServerConnection | None = None, thinking_tokens: int = 0) -> Solver:
    """Answer each query behind a defence, with any Inspect model; the whole solver of a task.

    The defence sees the conversation, never the label or the reference answer. If it raises, the sample
    fails: the undefended query is never sent instead. A request that the service blocks leaves an output without text
    and the stop reason "content_filter". `connection` is that to a model on a server. A model that thinks may write
    `thinking_tokens` more than a defence asks for.
    """

    async def send(request: Request, max_new_tokens: int | None) -> Response:
        generate = partial(put, get_model(), request, max_new_tokens)
        return await generate() if connection is None else await connection.send(generate)

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001
        began = time.time()
        query = await to_thread.run_sync(read_query, str(state.sample_id), state.messages)
        return await _answer(state, defence, query, Exchange(send, thinking_tokens), began)

    return solve


@solver
def behind_in_batches(
    defence: Defence, queries: OpenedQueries, batcher: Batcher, max_new_tokens: int, thinking_tokens: int = 0
) -> Solver:
    """Answer each query behind a defence, with a loaded model; the whole solver of a task.

    As `behind`, but the image goes to the model as it is: samples need no more than the ids of `queries`. What the
    model was asked and replied is in the sample's transcript.
    """

    async def send(request: Request, limit: int | None) -> Response:
        response = await batcher.respond(request, limit or max_new_tokens)
        count_usage(str(get_model()), token_usage(response))
        told = dict(vars(response))
        if request.watch is None:
            del told["projection"], told["unfamiliar"]
        transcript().info({"request": as_record(request), "response": told}, source="davsp")
        return response

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001
        began = time.time()
        query = await queries.get(str(state.sample_id))
        return await _answer(state, defence, query, Exchange(send, thinking_tokens), began)

    return solve


async def _answer(state: TaskState, defence: Defence, query: Query, exchange: Exchange, began: float) -> TaskState:
    try:
        state.output = ModelOutput.from_content(str(get_model()), await defence.answer(query, exchange))
    except BlockedRequest as block:
        state.output = ModelOutput.from_content(str(get_model()), "", stop_reason="content_filter")
        state.output.metadata = {BLOCKED: str(block)}
    state.messages.append(state.output.message)
    state.store.set(COST, {**asdict(exchange.cost), "began": began, "ended": time.time()})
    if exchange.unfamiliar is not None:
        state.store.set(UNFAMILIAR, exchange.unfamiliar)
    if exchange.alarm is not None:
        state.store.set(ALARM, exchange.alarm)
    return state
