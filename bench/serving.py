"""`davsp serve` between clients and a stub server, beside a bare proxy: `python -m bench.serving`.

All of it runs on the loopback address, in processes of their own, bounded in count and in time. The floor is a
starlette and httpx pass-through that decodes, composes and encodes images too, and does nothing else.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import httpx

FAULTS = ("small", "fault:reset", "fault:half", "fault:slow", "fault:500", "fault:hang")
BROKEN = ("data:image/png;base64,AAAA", "data:image/png;base64,%%", "http://127.0.0.1/a.png", "")
HUNG = 60.0
"""Seconds after which a request counts as one that hangs."""


async def fault_storm(address: str, requests: int, at_a_time: int, seed: int, uris: list[str]) -> Counter[str]:
    """Send requests of which each has a random fault: of the server, of the image, of the client, or none.

    How many were "answered", "refused" (by the proxy), "failed" (502, 504, or the server's own error), "left" by the
    client, and "hung".
    """
    rng = random.Random(seed)
    places, done = asyncio.Semaphore(at_a_time), Counter[str]()

    async def one(client: httpx.AsyncClient, body: dict[str, Any], patience: float) -> None:
        async with places:
            try:
                async with asyncio.timeout(min(patience, HUNG)):
                    reply = await client.post(f"{address}/chat/completions", json=body, timeout=None)
                kind = "answered" if reply.status_code == 200 else "failed" if reply.status_code >= 500 else "refused"
                if kind == "answered" and '"error"' in reply.text:
                    kind = "failed"
            except TimeoutError:
                kind = "left" if patience < HUNG else "hung"
            except httpx.HTTPError:
                kind = "failed"
            done[kind] += 1

    kept = httpx.Limits(max_keepalive_connections=at_a_time)
    async with httpx.AsyncClient(trust_env=False, limits=kept) as client, asyncio.TaskGroup() as group:
        for _ in range(requests):
            uri = rng.choice(BROKEN) if rng.random() < 0.2 else rng.choice(uris)
            model = rng.choice(FAULTS) if rng.random() < 0.5 else "small"
            part = {"type": "image_url", "image_url": {"url": uri}}
            content = [part, {"type": "text", "text": "what is it ?"}]
            body = {
                "model": model,
                "messages": [{"role": "user", "content": content}],
                "stream": rng.random() < 0.5,
            }
            leaves = model == "fault:hang" or rng.random() < 0.15
            group.create_task(one(client, body, rng.uniform(0.01, 0.3) if leaves else HUNG))
    return done
