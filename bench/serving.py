"""What `davsp serve` costs between clients and a stub server, beside a bare proxy.

The floor, `bench.bare_proxy`, decodes, composes and encodes images too, and checks nothing.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.clients import closed_loop, connection
from bench.measuring import Row, percentile, spread
from bench.proxies import Running, bare, ours, photographs, prompt, request, stub
from davsp.imaging.data_uris import from_data_uri, to_data_uri
from davsp.imaging.opening import open_image, stored_png

TURNS, REQUESTS, CLIENTS = 3, 30, 8
ONE_AT_A_TIME = 100
"""Requests of one client in a turn."""


def rows(size: str) -> list[Row]:  # noqa: ARG001 - the model plays no part
    """What the proxy adds, and what it carries."""
    with TemporaryDirectory() as name, stub(Path(name)) as (folder, upstream):
        texts, images = [[request(None)], photographs()]
        with ours(upstream, folder, "--cache", 0, "--max-hardening", 8) as proxy, bare(upstream, folder) as floor:
            return [
                added_latency(proxy, floor, upstream, images),
                throughput("with a 1024 x 768 JPEG", proxy, floor, images, CLIENTS, 2 * REQUESTS, 0.85),
                throughput("of text alone", proxy, floor, texts, 4 * CLIENTS, 20 * REQUESTS, 0.95),
            ]


def added_latency(proxy: Running, floor: Running, upstream: str, images: list[bytes]) -> Row:
    """Milliseconds that one client at a time waits longer, beside decoding, composing and encoding alone, and beside
    what the bare proxy adds; and the processor's time of each, which other work on the machine changes less."""
    work = prompt()

    def alone(content: bytes) -> None:
        uri = json.loads(content)["messages"][0]["content"][0]["image_url"]["url"]
        to_data_uri(stored_png(work.apply_to_image(open_image(from_data_uri(uri)))), "image/png")

    async def each(address: str) -> list[float]:
        times = []
        async with connection(address) as client:
            for number in range(ONE_AT_A_TIME):
                begun = time.perf_counter()
                assert await client.post(address, images[number % len(images)]) == 200
                times.append(1000 * (time.perf_counter() - begun))
        return times

    waited: dict[str, list[float]] = {"ours": [], "bare": [], "alone": []}
    tails: dict[str, list[float]] = {"ours": [], "bare": [], "alone": []}
    computed: dict[str, list[float]] = {"ours": [], "bare": [], "alone": []}
    for turn in range(TURNS + 1):
        direct = statistics.median(asyncio.run(each(upstream)))
        found = {}
        for name, running in (("ours", proxy), ("bare", floor)):
            before = running.seconds
            found[name] = [one - direct for one in asyncio.run(each(running.address))], running.seconds - before
        before, times = time.process_time(), []
        for number in range(ONE_AT_A_TIME):
            begun = time.perf_counter()
            alone(images[number % len(images)])
            times.append(1000 * (time.perf_counter() - begun))
        found["alone"] = times, time.process_time() - before
        for name, (added, seconds) in found.items():
            if turn:
                waited[name].append(statistics.median(added))
                tails[name].append(percentile(added, 99))
                computed[name].append(1000 * seconds / ONE_AT_A_TIME)
            print(f"  turn {turn} of {TURNS}, {name}: {statistics.median(added):.1f} ms", file=sys.stderr, flush=True)

    names = {"ours": "ours", "bare": "a bare proxy", "alone": "decoding, composing and encoding alone"}
    figures = {"p50 of ours": spread(waited["ours"], 12), "p99 of ours": spread(tails["ours"], 25)}
    for name, what in names.items():
        figures |= (
            {} if name == "ours" else {f"p50 of {what}": spread(waited[name]), f"p99 of {what}": spread(tails[name])}
        )
        figures[f"the processor's time of {what}"] = spread(computed[name])
    return {
        "name": "davsp serve, added to a request with a 1024 x 768 JPEG, one client: milliseconds",
        "size": "any",
        "vs_reference": None,
        "vs_floor": None,
        "n": TURNS,
        "note": f"{ONE_AT_A_TIME} requests in a turn",
        "figures": figures,
    }


def throughput(
    what: str, proxy: Running, floor: Running, contents: list[bytes], clients: int, requests: int, aim: float
) -> Row:
    """Requests per second of one core's time, which is what one worker sustains there, beside the bare proxy's."""
    ratios, rates = [], []
    for turn in range(TURNS + 1):
        rate = {}
        for name, running in (("ours", proxy), ("floor", floor)):
            before = running.seconds
            statuses, _ = asyncio.run(closed_loop(running.address, contents, clients, requests))
            assert set(statuses) == {200}, statuses
            rate[name] = statuses[200] / (running.seconds - before)
        print(f"  turn {turn} of {TURNS}, {what}: {rate}", file=sys.stderr, flush=True)
        if turn:
            ratios.append(rate["ours"] / rate["floor"])
            rates.append(rate["ours"])
    return {
        "name": f"davsp serve, requests {what}: requests per second of one core",
        "size": "any",
        "vs_reference": None,
        "vs_floor": spread(ratios, aim),
        "n": len(ratios),
        "note": f"{statistics.median(rates):.0f} a second; the floor is a bare pass-through that decodes, composes and "
        "encodes too",
    }
