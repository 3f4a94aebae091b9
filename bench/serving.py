"""`davsp serve` between clients and a stub server, beside a bare proxy.

Everything runs on the loopback address, bounded in count and in time: the proxies on one core, clients and stub on the
others. The floor, `bench.bare_proxy`, decodes, composes and encodes images too, and checks nothing.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import psutil
import torch
from PIL import Image, ImageFilter

from bench.measuring import Row, spread
from davsp.defences.stored import BaseModelFacts
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.imaging.canvas import FixedCanvas
from davsp.imaging.data_uris import from_data_uri, to_data_uri
from davsp.imaging.opening import open_image, stored_png
from davsp.prompts.layouts import BorderLayout
from davsp.prompts.visual import VisualPrompt

SIDE, BORDER = 336, 28
"""As for LLaVA-1.5."""
DELAY = 0.05
"""Seconds until the stub answers."""
TURNS, REQUESTS, CLIENTS = 3, 30, 8
OVERLOAD_SECONDS = 60.0
STORM, STORM_AT_A_TIME = 10_000, 64
FAULTS = ("small", "fault:reset", "fault:half", "fault:slow", "fault:500", "fault:hang")
BROKEN = ("data:image/png;base64,AAAA", "data:image/png;base64,%%", "http://127.0.0.1/a.png", "")
HUNG = 60.0
"""Seconds after which a request counts as one that hangs."""


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


def faulty(size: str) -> list[Row]:  # noqa: ARG001 - the model plays no part
    """What the proxy withstands."""
    with TemporaryDirectory() as name, stub(Path(name)) as (folder, upstream):
        with ours(upstream, folder, "--cache", 0, "--max-hardening", 8) as proxy:
            overloaded = overload(proxy, photographs())
        with ours(upstream, folder, "--timeout", 3) as proxy:
            return [overloaded, storm(proxy, upstream)]


# --- what is measured


def added_latency(proxy: Running, floor: Running, upstream: str, images: list[bytes]) -> Row:
    """Milliseconds that one client at a time waits longer, beside decoding, composing and encoding alone, and beside
    what the bare proxy adds; and the processor's time of each, which other work on the machine changes less."""
    work = _prompt()

    def alone(content: bytes) -> None:
        uri = json.loads(content)["messages"][0]["content"][0]["image_url"]["url"]
        to_data_uri(stored_png(work.apply_to_image(open_image(from_data_uri(uri)))), "image/png")

    async def each(address: str) -> list[float]:
        times = []
        async with connection(address) as client:
            for number in range(REQUESTS):
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
        for number in range(REQUESTS):
            begun = time.perf_counter()
            alone(images[number % len(images)])
            times.append(1000 * (time.perf_counter() - begun))
        found["alone"] = times, time.process_time() - before
        for name, (added, seconds) in found.items():
            if turn:
                waited[name].append(statistics.median(added))
                tails[name].append(percentile(added, 99))
                computed[name].append(1000 * seconds / REQUESTS)
            print(f"  turn {turn} of {TURNS}, {name}: {statistics.median(added):.1f} ms", file=sys.stderr, flush=True)

    def told(name: str) -> str:
        middle = [statistics.median(values[name]) for values in (waited, tails, computed)]
        return "{:.1f} (p99 {:.1f}; {:.1f} of the processor's)".format(*middle)

    return {
        "name": "davsp serve, added to a request with a 1024 x 768 JPEG, one client: milliseconds",
        "size": "any",
        "vs_reference": None,
        "vs_floor": spread(waited["ours"], 12),
        "n": TURNS,
        "note": f"ours {told('ours')}; a bare proxy {told('bare')}; decoding, composing and encoding alone "
        f"{told('alone')}",
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


def overload(proxy: Running, images: list[bytes]) -> Row:
    """Twice as many requests as it sustains, however long the answers take."""
    begun = time.perf_counter()
    statuses, normal = asyncio.run(closed_loop(proxy.address, images, CLIENTS, 10 * REQUESTS))
    rate = 2 * statuses[200] / (time.perf_counter() - begun)
    asyncio.run(open_loop(proxy.address, images, rate, OVERLOAD_SECONDS / 6))
    before = proxy.memory
    statuses, accepted = asyncio.run(open_loop(proxy.address, images, rate, OVERLOAD_SECONDS))
    print(f"  overload: {dict(statuses)}", file=sys.stderr, flush=True)
    ratio = percentile(accepted, 99) / percentile(normal, 99)
    told = ", ".join(f"{n} times {status}" for status, n in sorted(statuses.items()))
    return {
        "name": "davsp serve, twice what it sustains: p99 of the accepted : p99 at its capacity (less is better)",
        "size": "any",
        "vs_reference": None,
        "vs_floor": spread([ratio], 2),
        "n": 1,
        "note": f"{rate:.0f} a second for {OVERLOAD_SECONDS:.0f} s: {told}; p99 {1000 * percentile(accepted, 99):.0f} "
        f"ms; memory {before} to {proxy.memory} MiB",
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
    told = ", ".join(f"{n} {kind}" for kind, n in sorted(done.items()))
    return {
        "name": f"davsp serve, {done.total():,} requests with random faults: sent undefended (less is better)",
        "size": "any",
        "vs_reference": None,
        "vs_floor": spread([float(after["undefended"] - before["undefended"])]),
        "n": 1,
        "note": f"{told}, {done['hung']} hung; {after['defended'] - before['defended']} reached the server defended; "
        f"left in work {in_work}, sockets {sockets} before and {proxy.connections} after",
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


# --- clients that cost little


class Connection:
    """One connection that is kept, and asked one thing after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def post(self, address: str, content: bytes) -> int:
        """The status of a whole answer."""
        line = f"POST {httpx.URL(address).path}/chat/completions HTTP/1.1"
        head = f"{line}\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        self._writer.write(head.encode() + content)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        if "content-length" in headers:
            await self._reader.readexactly(int(headers["content-length"]))
        else:
            while length := int(await self._reader.readuntil(b"\r\n"), 16):
                await self._reader.readexactly(length + 2)
            await self._reader.readuntil(b"\r\n")
        return int(lines[0].split()[1])


class connection:  # noqa: N801 - a context
    """A connection to an address."""

    def __init__(self, address: str) -> None:
        self._url = httpx.URL(address)

    async def __aenter__(self) -> Connection:
        reader, self._writer = await asyncio.open_connection(self._url.host, self._url.port, limit=2**20)
        return Connection(reader, self._writer)

    async def __aexit__(self, *error: object) -> None:
        self._writer.close()


async def closed_loop(
    address: str, contents: list[bytes], clients: int, requests: int
) -> tuple[Counter[int], list[float]]:
    """Clients that ask again as soon as they are answered: statuses, and seconds of each request."""
    statuses, times, numbers = Counter[int](), list[float](), iter(range(requests))

    async def client() -> None:
        async with connection(address) as one:
            for number in numbers:
                begun = time.perf_counter()
                statuses[await one.post(address, contents[number % len(contents)])] += 1
                times.append(time.perf_counter() - begun)

    await asyncio.gather(*(client() for _ in range(clients)))
    return statuses, times


async def open_loop(
    address: str, contents: list[bytes], rate: float, seconds: float
) -> tuple[Counter[int], list[float]]:
    """Requests at a rate, whether or not earlier ones were answered: statuses, and seconds of those accepted. A request
    that gets no answer counts as status 0."""
    statuses, times = Counter[int](), list[float]()
    idle: list[tuple[float, connection, Connection]] = []

    async def ask(number: int) -> None:
        begun = time.perf_counter()
        while idle and begun - idle[0][0] > 3:  # a server ends what is idle for five seconds
            await idle.pop(0)[1].__aexit__()
        made = connection(address)
        try:
            _, made, one = idle.pop() if idle else (begun, made, await made.__aenter__())
            status = await one.post(address, contents[number % len(contents)])
        except (OSError, asyncio.IncompleteReadError):
            statuses[0] += 1
            return
        idle.append((time.perf_counter(), made, one))
        statuses[status] += 1
        if status == 200:
            times.append(time.perf_counter() - begun)

    begun, number = time.perf_counter(), 0
    async with asyncio.TaskGroup() as group:
        while (now := time.perf_counter() - begun) < seconds:
            while number < now * rate:
                group.create_task(ask(number))
                number += 1
            await asyncio.sleep(0.002)
    for _, made, _ in idle:
        await made.__aexit__()
    return statuses, times


def percentile(values: list[float], percent: float) -> float:
    return float(np.percentile(values, percent))


# --- what is sent, and the processes


def request(uri: str | None) -> bytes:
    """The body of a request with an image, or with none."""
    content: list[dict[str, Any]] = [{"type": "text", "text": "What is in the picture?"}]
    if uri is not None:
        content.insert(0, {"type": "image_url", "image_url": {"url": uri}})
    return json.dumps({"model": "small", "messages": [{"role": "user", "content": content}]}).encode()


def photographs() -> list[bytes]:
    """Requests with a JPEG of 1024 x 768 pixels each, as large as one of a photograph."""
    rng, found = np.random.default_rng(0), []
    for _ in range(32):
        small = Image.fromarray(rng.integers(0, 255, (96, 128, 3), dtype=np.uint8))
        photo = small.resize((1024, 768), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))
        stream = io.BytesIO()
        photo.save(stream, "JPEG", quality=90)
        found.append(request(f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"))
    return found


def _prompt() -> VisualSafetyPrompt:
    layout = BorderLayout(SIDE, SIDE, border=BORDER)
    pixels = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    layout.project_(pixels)
    made_for = BaseModelFacts(
        name="llava-1.5-7b",
        revision=None,
        family="llava",
        canvas=(SIDE, SIDE),
        limits=FixedCanvas(SIDE, SIDE),
        n_layers=32,
        hidden_size=4096,
        fingerprint="",
    )
    return VisualSafetyPrompt("bench", VisualPrompt(layout, pixels), "Take care.", base_model=made_for)


class Running:
    """A proxy that runs."""

    def __init__(self, address: str, process: int) -> None:
        self.address, self._process = address, psutil.Process(process)

    @property
    def memory(self) -> int:
        """MiB."""
        return int(self._process.memory_info().rss) // 2**20

    @property
    def seconds(self) -> float:
        """Of the processor, so far."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    @property
    def connections(self) -> int:
        return len(self._process.net_connections())


@contextmanager
def running(core: int, *command: object, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A Python module in a process of its own, on one core where there are several."""
    several = len(os.sched_getaffinity(0)) > 1
    cores = sorted(os.sched_getaffinity(0))[:1] if core == 0 else sorted(os.sched_getaffinity(0))[1:]
    process = subprocess.Popen(
        [sys.executable, "-m", *map(str, command)],
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores) if several else None,
        **options,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def stub(folder: Path) -> Iterator[tuple[Path, str]]:
    """A saved prompt, and the address of a stub server that looks for its border."""
    prompt = folder / "prompt"
    _prompt().save(prompt)
    command = ("bench.stub_upstream", "--border", prompt / "border.png", "--delay", DELAY)
    with running(1, *command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield prompt, f"http://127.0.0.1:{int(process.stdout.readline())}/v1"


@contextmanager
def ours(upstream: str, prompt: Path, *options: object) -> Iterator[Running]:
    """`davsp serve` with one worker and one thread; its log goes nowhere."""
    command = ("davsp", "serve", "--upstream", upstream, "--defence", prompt, "--port", 0, "--threads", 1, *options)
    with running(0, *command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r" at (http://\S+)/v1", line):
                address = f"{found[1]}/v1"
                wait_for(f"{found[1]}/health")
                yield Running(address, process.pid)
                return
        raise RuntimeError("davsp serve did not start")


@contextmanager
def bare(upstream: str, prompt: Path) -> Iterator[Running]:
    """The bare proxy."""
    with running(0, "bench.bare_proxy", upstream, prompt, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield Running(f"http://127.0.0.1:{int(process.stdout.readline())}/v1", process.pid)


def counts(upstream: str) -> Counter[str]:
    """What the stub counted."""
    return Counter(httpx.get(f"{upstream.removesuffix('/v1')}/counts", trust_env=False).json())


def wait_for(url: str) -> None:
    for _ in range(600):
        try:
            httpx.get(url, trust_env=False)
            return
        except httpx.HTTPError:
            time.sleep(0.1)
