"""What `davsp serve` withstands: twice what it sustains, and random faults in great number."""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from bench.clients import closed_loop, open_loop
from bench.measuring import Row, percentile, spread
from bench.proxies import Running, counts, ours, photographs, request, stub

CLIENTS, REQUESTS = 8, 300
"""By which is found what it sustains."""
OVERLOAD_SECONDS = 60.0
STORM, STORM_AT_A_TIME = 10_000, 64
FAULTS = ("small", "fault:reset", "fault:half", "fault:slow", "fault:500", "fault:hang")
BROKEN = ("data:image/png;base64,AAAA", "data:image/png;base64,%%", "http://127.0.0.1/a.png", "")
HUNG = 60.0
"""Seconds after which a request counts as one that hangs."""


def rows(size: str) -> list[Row]:  # noqa: ARG001 - the model plays no part
    """What the proxy withstands."""
    with TemporaryDirectory() as name, stub(Path(name)) as (folder, upstream):
        with ours(upstream, folder, "--cache", 0, "--max-hardening", 8) as proxy:
            overloaded = overload(proxy, photographs())
        with ours(upstream, folder, "--timeout", 3) as proxy:
            return [overloaded, storm(proxy, upstream)]


def overload(proxy: Running, images: list[bytes]) -> Row:
    """Twice as many requests as it sustains, however long the answers take."""
    begun = time.perf_counter()
    statuses, normal = asyncio.run(closed_loop(proxy.address, images, CLIENTS, REQUESTS))
    rate = 2 * statuses[200] / (time.perf_counter() - begun)
    asyncio.run(open_loop(proxy.address, images, rate, OVERLOAD_SECONDS / 6))
    before = proxy.memory
    statuses, accepted = asyncio.run(open_loop(proxy.address, images, rate, OVERLOAD_SECONDS))
    print(f"  overload: {dict(statuses)}", file=sys.stderr, flush=True)
    ratio = percentile(accepted, 99) / percentile(normal, 99)
    told = ", ".join(f"{n} times {status}" for status, n in sorted(statuses.items()))
    return {
        "name": "davsp serve, twice what it sustains",
        "size": "any",
        "vs_reference": None,
        "vs_floor": None,
        "n": 1,
        "note": f"{rate:.0f} a second for {OVERLOAD_SECONDS:.0f} s: {told}; p99 {1000 * percentile(accepted, 99):.0f} "
        f"ms; memory {before} to {proxy.memory} MiB",
        "figures": {"p99 of the accepted : p99 at its capacity": spread([ratio], 2)},
    }


def storm(proxy: Running, upstream: str) -> Row:
    """Random faults in great number: of the server, of images, of clients."""
    uris = [json.loads(content)["messages"][0]["content"][0]["image_url"]["url"] for content in photographs()[:8]]
    before, sockets = counts(upstream), proxy.connections
    done = asyncio.run(fault_storm(proxy.address, STORM, STORM_AT_A_TIME, 0, uris))
    time.sleep(6)  # idle connections are kept for less, and closed when the next request comes
    asyncio.run(closed_loop(proxy.address, [request(None)], 1, 1))
    after = counts(upstream)
    metrics = httpx.get(f"{proxy.address.removesuffix('/v1')}/metrics", trust_env=False).text
    [in_work] = re.findall(r"^davsp_requests_in_flight ([\d.]+)$", metrics, re.MULTILINE)
    sent = {kind: after[kind] - before[kind] for kind in ("defended", "undefended")}
    told = ", ".join(f"{n} {kind}" for kind, n in sorted(done.items()))
    return {
        "name": f"davsp serve, {done.total():,} requests with random faults",
        "size": "any",
        "vs_reference": None,
        "vs_floor": None,
        "n": 1,
        "note": f"{told}, {done['hung']} hung; {sent['undefended']} reached the server undefended, {sent['defended']} "
        f"defended; left in work {in_work}, sockets {sockets} before and {proxy.connections} after",
    }


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
            body = {"model": model, "messages": [{"role": "user", "content": content}], "stream": rng.random() < 0.5}
            leaves = model == "fault:hang" or rng.random() < 0.15
            group.create_task(one(client, body, rng.uniform(0.01, 0.3) if leaves else HUNG))
    return done
