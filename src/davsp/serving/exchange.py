"""One request and its answer, as ASGI has them: read within limits, sent piece by piece, ended as the client leaves."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from starlette.types import Receive, Scope, Send

from davsp.serving.refused import RequestRefused
from davsp.serving.upstream import REQUEST_ID, Headers, passed_on

_ID = re.compile(rb"[\w.:-]{1,128}", re.ASCII)
_COUNTED = {b"content-length", REQUEST_ID}


class ClientLeft(Exception):  # noqa: N818 - nobody did wrong
    """The client went away, or takes nothing more, before its answer's end."""


class Exchange:
    """One request and its answer. A client that takes nothing for `seconds` counts as gone."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, seconds: float) -> None:
        self.method: str = scope["method"]
        self.headers: Headers = scope["headers"]
        self.query: bytes = scope["query_string"]
        self.id = self._given_id() or uuid4().hex
        self.status: int | None = None
        self.is_read = False
        self.is_complete = False
        self._receive, self._send, self._seconds = receive, send, seconds

    def _given_id(self) -> str | None:
        given = next((value for name, value in self.headers if name == REQUEST_ID), b"")
        return given.decode("ascii") if _ID.fullmatch(given) else None

    async def body(self, most_bytes: int) -> bytes:
        """The whole request. One that is refused is read to its end all the same, so that its sender gets to read why.

        Raises RequestRefused for one that is too large, comes too slowly, or is compressed; ClientLeft.
        """
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._seconds):
                more = True
                while more:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ClientLeft
                    size += len(message.get("body", b""))
                    if size <= most_bytes:
                        chunks.append(message.get("body", b""))
                    more = message.get("more_body", False)
            self.is_read = True
        except TimeoutError as error:
            raise RequestRefused(408, "request_timeout", "the request did not arrive in time.") from error
        if size > most_bytes:
            raise RequestRefused(
                413, "request_too_large", f"a request may have {most_bytes // 2**20} MiB here. Send smaller images."
            )
        if any(name == b"content-encoding" and value.lower() != b"identity" for name, value in self.headers):
            raise RequestRefused(415, "unsupported_encoding", "send the request's body without compression.")
        return b"".join(chunks)

    async def discard(self) -> None:
        """Read the request and keep nothing of it, so that its sender gets to read why. Raises ClientLeft."""
        with suppress(RequestRefused):
            await self.body(0)

    async def while_there(self, work: Awaitable[None]) -> None:
        """Await the work; cancel it when the client leaves. Raises ClientLeft then, and what the work raises."""
        task = asyncio.ensure_future(work)
        left = asyncio.ensure_future(self._until_left())
        try:
            await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and not self.is_complete:
                raise ClientLeft
            await task
        finally:
            for one in (task, left):
                one.cancel()
            await asyncio.gather(task, left, return_exceptions=True)

    async def _until_left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def start(self, status: int, headers: Headers) -> None:
        """Begin the answer."""
        self.status = status
        kept = [(n, v) for n, v in passed_on(headers) if n.lower() != REQUEST_ID]
        kept.append((REQUEST_ID, self.id.encode("ascii")))
        await self._put({"type": "http.response.start", "status": status, "headers": kept})

    async def chunk(self, content: bytes, more: bool = True) -> None:
        """A piece of the answer's body."""
        self.is_complete = not more
        await self._put({"type": "http.response.body", "body": content, "more_body": more})

    async def whole(self, status: int, headers: Headers, content: bytes) -> None:
        """The whole answer."""
        kept = [(n, v) for n, v in headers if n.lower() not in _COUNTED]
        await self.start(status, [*kept, (b"content-length", b"%d" % len(content))])
        await self.chunk(content, more=False)

    async def refuse(self, refused: RequestRefused) -> None:
        """Say why the request is not answered; in an answer that has begun, as its last event."""
        if self.is_complete:
            return
        if self.status is not None:
            await self.chunk(refused.event, more=False)
            return
        headers: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json")]
        if refused.status == 429:
            headers.append((b"retry-after", b"1"))
        await self.whole(refused.status, headers, json.dumps(refused.body).encode())

    async def _put(self, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await self._send(message)
        except TimeoutError as error:
            raise ClientLeft from error
        except OSError as error:  # what a server may raise once the client is gone
            raise ClientLeft from error
