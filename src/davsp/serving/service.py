"""What every request meets first and last: places, limits, metrics, errors, a line of the log."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, ClassVar

from prometheus_client import Gauge

from davsp.serving.contents import Json
from davsp.serving.exchange import ClientLeft, Exchange
from davsp.serving.metrics import Metrics
from davsp.serving.refused import NoPlace, RequestRefused, bad_request
from davsp.serving.settings import ServeSettings
from davsp.util.files import parse_json

CHAT, RESPONSES, COMPLETIONS, MODELS = "/chat/completions", "/responses", "/completions", "/models"
Fields = dict[str, Any]
"""What the log says of a request."""

log = logging.getLogger(__name__)


class Service(ABC):
    """What answers requests, in one process."""

    endpoints: ClassVar[Mapping[str, str]]
    """The paths under /v1 that it answers, and the method of each."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings, self.limits = settings, settings.limits
        self.metrics = Metrics(settings.metrics_folder)
        self._in_work = {self.metrics.in_flight: 0, self.metrics.hardening: 0}

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[None]:
        """What runs beside requests, as long as the block lasts; its end waits for that."""

    @abstractmethod
    async def ready(self) -> dict[str, Any]:
        """Whether requests can be answered, as "ready", and behind what."""

    @abstractmethod
    async def answer(self, exchange: Exchange, path: str, body: bytes, record: Fields) -> None:
        """Answer a request. Raises RequestRefused for one that is not answered, before anything is sent or after."""

    async def handle(self, exchange: Exchange, path: str) -> None:
        """Answer one request to a path under /v1, whatever happens, and log a line of it."""
        begun = time.perf_counter()
        record: Fields = {"request_id": exchange.id, "method": exchange.method, "endpoint": path}
        try:
            try:
                await self._admit(exchange, path, record)
            except RequestRefused as refused:
                await self._refuse(exchange, refused, record)
            except ClientLeft:
                raise
            except Exception as error:  # no mistake of ours may let a request through
                log.exception("internal_error", extra={"fields": {"request_id": exchange.id}})
                message = f"the proxy failed ({type(error).__name__})."
                await self._refuse(exchange, RequestRefused(500, "internal_error", message), record)
        except ClientLeft:
            record["code"] = "client_left"
            self.metrics.disconnects.inc()
        finally:
            self.metrics.requests.labels(path, str(exchange.status or 0)).inc()
            record |= {"status": exchange.status, "total_ms": milliseconds(begun)}
            log.info("request", extra={"fields": record})

    async def _admit(self, exchange: Exchange, path: str, record: Fields) -> None:
        try:
            with self.place(self.metrics.in_flight, self.limits.requests):
                body = await exchange.body(self.limits.body_bytes)
                await exchange.while_there(self.answer(exchange, path, body, record))
        except NoPlace:
            if not exchange.is_read:
                await exchange.discard()
            raise

    async def _refuse(self, exchange: Exchange, refused: RequestRefused, record: Fields) -> None:
        record["code"] = refused.code
        self._count_refused(refused)
        await exchange.refuse(refused)

    def _count_refused(self, refused: RequestRefused) -> None:
        if refused.code.startswith("upstream_"):
            self.metrics.failures.labels(refused.code.removeprefix("upstream_")).inc()
        else:
            self.metrics.refused.labels(refused.code).inc()

    @contextmanager
    def place(self, gauge: Gauge, most: int) -> Iterator[None]:
        """A place among those in work. Raises RequestRefused at once when there is none."""
        if self._in_work[gauge] >= most:
            raise NoPlace()
        self._in_work[gauge] += 1
        gauge.inc()
        try:
            yield
        finally:
            self._in_work[gauge] -= 1
            gauge.dec()


def parsed(body: bytes) -> Json:
    """The JSON object of a request. Raises RequestRefused for anything else."""
    try:
        request = parse_json(body)
    except ValueError as error:  # UnicodeDecodeError is one
        raise bad_request("the request is no JSON.", "invalid_json") from error
    if not isinstance(request, dict):
        raise bad_request("the request is no JSON object.", "invalid_json")
    return request


def milliseconds(since: float) -> float:
    return round(1000 * (time.perf_counter() - since), 3)
