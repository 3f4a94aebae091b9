"""The application that uvicorn serves: its endpoints, and what runs as long as it does."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from davsp.serving.exchange import Exchange
from davsp.serving.proxy import READERS, Proxy
from davsp.serving.refused import RequestRefused
from davsp.serving.settings import ServeSettings

log = logging.getLogger(__name__)


class Endpoint:
    """A path under /v1 that is passed on. The server gets the path as it was understood here, not as it was written:
    no other way of writing one leads past the defence."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        proxy: Proxy = scope["app"].state.proxy
        await proxy.handle(Exchange(scope, receive, send, proxy.limits.body_seconds), self._path)


def create_app(settings: ServeSettings) -> Starlette:
    """The proxy as an ASGI application."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        proxy = app.state.proxy = Proxy(settings)
        reloads: set[asyncio.Task[bool]] = set()

        def on_hangup() -> None:
            task = asyncio.create_task(proxy.reloader.reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, on_hangup)
        watching = asyncio.create_task(proxy.reloader.watch())
        defence = proxy.reloader.hardener.defence
        log.info("ready", extra={"fields": {"defence": defence.name, "mode": settings.mode}})
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, *reloads, return_exceptions=True)
            await proxy.close()

    async def health(request: Request) -> Response:  # noqa: ARG001
        return JSONResponse({"status": "ok"})

    async def ready(request: Request) -> Response:
        proxy: Proxy = request.app.state.proxy
        answers = await proxy.upstream.answers()
        defence = proxy.reloader.hardener.defence.name
        return JSONResponse({"upstream": answers, "defence": defence, "mode": settings.mode}, 200 if answers else 503)

    async def metrics(request: Request) -> Response:
        return PlainTextResponse(request.app.state.proxy.metrics.show(), media_type="text/plain; version=0.0.4")

    async def not_passed(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = f"{request.method} {request.url.path} is not passed on by this proxy."
        refused = RequestRefused(error.status_code, "unsupported_endpoint", message)
        return JSONResponse(refused.body, error.status_code, headers=error.headers)

    return Starlette(
        routes=[
            *(Route(f"/v1{path}", Endpoint(path), methods=["POST"]) for path in READERS),
            Route("/v1/models", Endpoint("/models"), methods=["GET"]),
            Route("/health", health),
            Route("/ready", ready),
            Route("/metrics", metrics),
        ],
        exception_handlers={404: not_passed, 405: not_passed},
        lifespan=lifespan,
    )
