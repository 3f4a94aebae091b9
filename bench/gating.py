"""A gate: what it costs a query that it lets pass, and one that it flags."""

from __future__ import annotations

import asyncio
from functools import partial

import torch

from bench.measuring import Row, in_turns, row
from bench.subjects import subject
from davsp.defences.base import Exchange
from davsp.defences.gate_reading import default_layers
from davsp.defences.textual import SafetyPrefix
from davsp.models.probe import Probe
from davsp.models.requests import Request, Response, Watch
from davsp.prompts.text import SAFETY_PREFIX
from davsp.testbed.queries import border_queries

TOKENS = 24
TURNS = 41
PASSED_AIM, FLAGGED_AIM = 0.98, 1 / 1.45


def rows(size: str) -> list[Row]:
    """One query at a time, answered with 24 tokens at most: without a gate and behind one that lets it pass; behind the
    safety prefix, and behind the prefix after a gate that flags it."""
    model = subject(size)
    query = border_queries(0, per_group=1)[0][0]
    layers = default_layers(model)
    probe = Probe(layers, torch.zeros(len(layers), model.hidden_size))
    behind = SafetyPrefix(SAFETY_PREFIX)

    def ask(watch: Watch | None) -> None:
        model.respond([Request(query.messages, watch=watch)], TOKENS)

    async def send(request: Request, limit: int | None) -> Response:
        return model.respond([request], limit or TOKENS)[0]

    def prefixed(watch: Watch | None) -> None:
        if watch:
            ask(watch)
        asyncio.run(behind.answer(query, Exchange(send)))

    passed, flagged = (Watch(probe, threshold) for threshold in (1.0, -1.0))
    sides = {
        ("passes", PASSED_AIM): {"floor": partial(ask, None), "ours": partial(ask, passed)},
        ("flags", FLAGGED_AIM): {"floor": partial(prefixed, None), "ours": partial(prefixed, flagged)},
    }
    return [
        row(
            f"gate: a query that it {what}",
            size,
            in_turns(ways, TURNS),
            floor_aim=aim,
            note=f"one at a time, at most {TOKENS} tokens; the floor is the same without a gate",
        )
        for (what, aim), ways in sides.items()
    ]
