"""The application that uvicorn serves: its endpoints, and what runs as long as it does."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from davsp.serving.exchange import Exchange
from davsp.serving.refused import RequestRefused
from davsp.serving.service import Service
from davsp.util.heap import heap_set_aside

log = logging.getLogger(__name__)


class Endpoint:
    """A path under /v1 that is answered. It is taken as it was understood here, not as it was written: no other way of
    writing one leads past the defence."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service: Service = scope["app"].state.service
        await service.handle(Exchange(scope, receive, send, service.limits.body_seconds), self._path)


def create_app(service: Callable[[], Service]) -> Starlette:
    """A service as an ASGI application."""
    served = service()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.service = served
        async with served.open():
            log.info("started", extra={"fields": await served.ready()})
            with heap_set_aside():
                yield

    async def health(request: Request) -> Response:  # noqa: ARG001
        return JSONResponse({"status": "ok"})

    async def ready(request: Request) -> Response:  # noqa: ARG001
        told = await served.ready()
        return JSONResponse(told, 200 if told["ready"] else 503)

    async def metrics(request: Request) -> Response:  # noqa: ARG001
        return PlainTextResponse(served.metrics.show(), media_type="text/plain; version=0.0.4")

    async def not_served(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = f"{request.method} {request.url.path} is not served here."
        refused = RequestRefused(error.status_code, "unsupported_endpoint", message)
        return JSONResponse(refused.body, error.status_code, headers=error.headers)

    return Starlette(
        routes=[
            *(Route(f"/v1{path}", Endpoint(path), methods=[method]) for path, method in served.endpoints.items()),
            Route("/health", health),
            Route("/ready", ready),
            Route("/metrics", metrics),
        ],
        exception_handlers={404: not_served, 405: not_served},
        lifespan=lifespan,
    )
