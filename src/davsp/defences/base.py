"""What passes between a defence and a model: requests, responses and what they cost; and the two shapes of defences."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar, runtime_checkable

from davsp.data.query import Query
from davsp.models.requests import Request, Response

T = TypeVar("T")


@dataclass(frozen=True)
class QueryCost:
    """What one query cost: calls of the model, its tokens, and calls of helper models, such as CLIP.

    Tokens are the model's own, images included, and None where it did not tell them.
    """

    calls: int = 0
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    helper_calls: int = 0


@dataclass
class Exchange:
    """What a defence may do while it answers one query: ask the model, consult helpers. It counts both.

    `send` puts a request to the model, with a limit of new tokens or the run's own (None).
    """

    send: Callable[[Request, int | None], Awaitable[Response]]
    cost: QueryCost = field(default_factory=QueryCost)

    async def ask(self, request: Request, max_new_tokens: int | None = None) -> Response:
        """The model's response to one request."""
        found = await self.send(request, max_new_tokens)
        cost = self.cost
        self.cost = replace(
            cost,
            calls=cost.calls + 1,
            input_tokens=_sum(cost.input_tokens, found.input_tokens),
            output_tokens=_sum(cost.output_tokens, found.output_tokens),
        )
        return found

    async def consult(self, helper: Callable[[], T]) -> T:
        """What one call of a helper model finds; it runs in a thread."""
        found = await asyncio.to_thread(helper)
        self.cost = replace(self.cost, helper_calls=self.cost.helper_calls + 1)
        return found


class Defence(Protocol):
    """Anything that rewrites a query so that a model answers it more safely."""

    @property
    def name(self) -> str:
        """A short name, unique among the defences that are compared."""

    def defend(self, query: Query) -> Query:
        """The query as the model is to see it. Where helper models are asked, `helper_calls` says how often."""


@runtime_checkable
class AnsweringDefence(Protocol):
    """Anything that answers a query itself, asking the model as often as it needs."""

    @property
    def name(self) -> str:
        """A short name, unique among the defences that are compared."""

    @property
    def identity(self) -> str:
        """What tells it from another defence of its name: its options."""

    async def answer(self, query: Query, exchange: Exchange) -> str:
        """The answer that the user gets."""


AnyDefence = Defence | AnsweringDefence


async def answer_query(defence: AnyDefence, query: Query, exchange: Exchange) -> str:
    """The answer to a query behind a defence of either shape. If the defence raises, the model is not asked."""
    if isinstance(defence, AnsweringDefence):
        return await defence.answer(query, exchange)
    defended = await asyncio.to_thread(defence.defend, query)
    return (await exchange.ask(Request(defended.question, defended.image))).text


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
