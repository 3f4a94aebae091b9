"""Clients of a server, which cost little beside what they measure."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import httpx


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
