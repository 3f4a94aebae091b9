"""An OpenAI-compatible server that answers at once, or fails as a request's model says, and looks at what it is sent.

`python -m bench.stub_upstream --border PROMPT/border.png` prints its port. `model` in a request says what happens:

    small         an answer after --delay seconds, as a stream where the request wants one
    fault:reset   the connection ends before the answer;  fault:half   in its middle
    fault:slow    the answer comes byte by byte;          fault:hang   never
    fault:500     an error

GET /counts says how many requests came with images behind the border, with others, and with none, how many were broken
off by the client, and how many connections are open; GET /asked, the last requests.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
from collections import Counter, deque
from pathlib import Path
from typing import Any

import h11
import numpy as np
from PIL import Image

REFUSAL, ANSWER = "I am sorry, but I cannot help with that.", "Fold it twice."
"""What is said behind the border, and otherwise."""
HANG = 30.0


class Stub:
    """The server. An image is behind the border when it has the border's size and, where that is opaque, its pixels."""

    def __init__(self, border: Path | None, delay: float) -> None:
        self.delay = delay
        self.counts: Counter[str] = Counter()
        self.asked: deque[dict[str, Any]] = deque(maxlen=64)
        self._border = np.asarray(Image.open(border).convert("RGBA")) if border else None
        self._known: dict[str, bool] = {}

    def is_defended(self, uri: str) -> bool:
        """Whether a data URI is of an image behind the border."""
        if self._border is None:
            return True
        if uri not in self._known:
            self._known = {**dict(list(self._known.items())[-64:]), uri: self._has_border(uri)}
        return self._known[uri]

    def _has_border(self, uri: str) -> bool:
        assert self._border is not None
        try:
            image = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))
        except (OSError, ValueError):
            return False
        opaque = self._border[..., 3] == 255
        if image.shape[:2] != opaque.shape:
            return False
        return bool((abs(image[opaque].astype(int) - self._border[opaque][:, :3]) <= 1).all())

    def look(self, request: h11.Request, content: bytes) -> tuple[dict[str, Any], bool]:
        """Note a request; its body, and whether its images are behind the border."""
        body = json.loads(content)
        uris = list(_image_uris(body))
        defended = bool(uris) and all(uri.startswith("data:") and self.is_defended(uri) for uri in uris)
        self.counts["defended" if defended else "undefended" if uris else "text"] += 1
        headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
        self.asked.append({"path": request.target.decode(), "headers": headers, "body": body})
        return body, defended

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.counts["open"] += 1
        try:
            connection = h11.Connection(h11.SERVER)
            while (found := await _read(connection, reader)) is not None:
                if not await self._reply(connection, reader, writer, *found):
                    writer.transport.abort()
                    return
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return
                connection.start_next_cycle()
        except (ConnectionError, h11.RemoteProtocolError):
            self.counts["broken"] += 1
        finally:
            self.counts["open"] -= 1
            writer.close()

    async def _reply(
        self, connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *asked: Any
    ) -> bool:
        """Answer; False to break the connection off."""
        request, content = asked
        if request.method == b"GET":
            told: Any = {b"/counts": dict(self.counts), b"/asked": list(self.asked)}.get(
                request.target, {"object": "list", "data": [{"id": "small", "object": "model"}]}
            )
            await _send(connection, writer, 200, [json.dumps(told).encode()])
            return True
        body, defended = self.look(request, content)
        fault = str(body.get("model")).removeprefix("fault:")
        if fault == "reset":
            return False
        # A client that leaves is noticed while it is waited for.
        left = asyncio.ensure_future(reader.read(1))
        done, _ = await asyncio.wait({left}, timeout=HANG if fault == "hang" else self.delay)
        if done:
            self.counts["left"] += 1
            return False
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        if fault == "500":
            await _send(connection, writer, 500, [b'{"error": {"message": "out of memory"}}'])
            return True
        pieces = _pieces(body, REFUSAL if defended else ANSWER)
        kind = "text/event-stream" if body.get("stream") else "application/json"
        if fault == "half":
            await _send(connection, writer, 200, pieces[:1] if len(pieces) > 1 else [pieces[0][:9]], kind, False)
            return False
        if fault == "slow":
            pieces = [piece[i : i + 16] for piece in pieces for i in range(0, len(piece), 16)]
        await _send(connection, writer, 200, pieces, kind, pause=0.01 if fault == "slow" else 0)
        return True


def _pieces(body: dict[str, Any], text: str) -> list[bytes]:
    """The answer's body: one piece, or one for each word."""
    head = {"id": "1", "created": 1, "model": "small"}
    if not body.get("stream"):
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "finish_reason": "stop", "message": message, "text": text}
        part = {"type": "output_text", "text": text, "annotations": []}
        output = [{"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part]}]
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        return [
            json.dumps(
                head | {"object": "chat.completion", "choices": [choice], "output": output, "usage": usage}
            ).encode()
        ]
    words = [word + " " for word in text.split()]
    chunks = [
        head | {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": word}}]}
        for word in words
    ]
    return [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks] + [b"data: [DONE]\n\n"]


def _image_uris(value: Any) -> Any:
    if isinstance(value, dict):
        found = value.get("image_url")
        uri = found.get("url") if isinstance(found, dict) else found
        if isinstance(uri, str):
            yield uri
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _image_uris(one)


async def _read(connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[h11.Request, bytes] | None:
    request, content = None, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(2**18))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            content += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            return request, bytes(content)
        else:
            return None


async def _send(
    connection: h11.Connection,
    writer: asyncio.StreamWriter,
    status: int,
    pieces: list[bytes],
    kind: str = "application/json",
    to_its_end: bool = True,
    pause: float = 0,
) -> None:
    headers = [
        ("content-type", kind),
        ("x-served-by", "stub"),
        ("set-cookie", "session=1"),
        ("transfer-encoding", "chunked"),
    ]
    writer.write(connection.send(h11.Response(status_code=status, headers=headers)) or b"")
    for piece in pieces:
        writer.write(connection.send(h11.Data(data=piece)) or b"")
        await writer.drain()
        await asyncio.sleep(pause)
    if to_its_end:
        writer.write(connection.send(h11.EndOfMessage()) or b"")
    await writer.drain()


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.stub_upstream", description=__doc__)
    parser.add_argument("--border", type=Path, help="border.png of the prompt that images are to be behind")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds until an answer")
    asked = parser.parse_args()
    stub = Stub(asked.border, asked.delay)
    server = await asyncio.start_server(stub.connected, "127.0.0.1", 0, limit=2**20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
