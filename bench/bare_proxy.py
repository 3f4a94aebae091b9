"""The floor of `davsp serve`: starlette and httpx, which read, decode, compose, encode and send on, and check nothing.

`python -m bench.bare_proxy UPSTREAM PROMPT` prints its port.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.imaging.data_uris import from_data_uri, to_data_uri
from davsp.imaging.opening import open_image, stored_png


def bare(upstream: str, prompt: VisualSafetyPrompt) -> Starlette:
    """A proxy for requests of one user message: an image and a text, or a text."""
    client = httpx.AsyncClient(trust_env=False, timeout=60, limits=httpx.Limits(max_keepalive_connections=256))

    def compose(uri: str) -> str:
        return to_data_uri(stored_png(prompt.apply_to_image(open_image(from_data_uri(uri)))), "image/png")

    async def pass_on(request: Request) -> Response:
        body: Any = await request.json()
        for part in body["messages"][0]["content"]:
            if part["type"] == "image_url":
                part["image_url"]["url"] = await run_in_threadpool(compose, part["image_url"]["url"])
        sent = client.build_request("POST", f"{upstream}/chat/completions", json=body)
        reply = await client.send(sent, stream=True)
        kind = reply.headers["content-type"]
        close = BackgroundTask(reply.aclose)
        return StreamingResponse(reply.aiter_raw(), reply.status_code, media_type=kind, background=close)

    return Starlette(routes=[Route("/v1/chat/completions", pass_on, methods=["POST"])])


def main() -> None:
    upstream, folder = sys.argv[1:]
    app = bare(upstream, VisualSafetyPrompt.load(Path(folder)))
    at = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(at.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False)).run([at])


if __name__ == "__main__":
    main()
