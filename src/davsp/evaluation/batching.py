"""True batches of what many queries ask a loaded model at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from davsp.errors import InputError, ModelError
from davsp.models.requests import Request, Response

QUIET_SECONDS = 0.05
"""A batch that is not full starts when no request arrived for so long."""


class LocalModel(Protocol):
    """What an evaluation needs of a loaded model; davsp.models.VisionLanguageModel has it."""

    name: str

    @property
    def identity(self) -> str:
        """All that its answers depend on, or a digest of that."""

    def respond(self, requests: Sequence[Request], max_new_tokens: int) -> list[Response]:
        """The responses to a batch of requests, in their order."""


@dataclass(eq=False)
class PendingRequest:
    """A request that waits for its batch, or is in one."""

    request: Request
    max_new_tokens: int
    response: asyncio.Future[Response]


class Batcher:
    """Collects requests that arrive at the same time and answers them in batches, in one worker thread.

    Of a batch that fails, every request is asked again by itself, so that one that cannot be answered fails no other.
    """

    def __init__(self, model: LocalModel, batch_size: int) -> None:
        if batch_size < 1:
            raise InputError(f"batch size {batch_size} is not possible. Use 1 or more.")
        self.batch_size = batch_size
        self._model = model
        self._pending: list[PendingRequest] = []
        self._full = asyncio.Event()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="davsp-generate")
        self._running: asyncio.Task[None] | None = None

    async def respond(self, request: Request, max_new_tokens: int) -> Response:
        """The model's response to one request."""
        pending = PendingRequest(request, max_new_tokens, asyncio.get_running_loop().create_future())
        self._pending.append(pending)
        if len(self._pending) >= self.batch_size:
            self._full.set()
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run_batches())
        return await pending.response

    def close(self) -> None:
        """End the worker thread; batches that wait are dropped."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def _run_batches(self) -> None:
        while self._pending:
            await self._until_full_or_quiet()
            batch = self._next_batch()
            if batch:
                await self._run(batch)

    async def _until_full_or_quiet(self) -> None:
        self._full = asyncio.Event()  # of the loop that runs now
        seen = -1
        while seen < len(self._pending) < self.batch_size:
            seen = len(self._pending)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), QUIET_SECONDS)

    def _next_batch(self) -> list[PendingRequest]:
        """The requests that wait longest and want the same number of tokens; cancelled ones are dropped."""
        self._pending = [p for p in self._pending if not p.response.done()]
        batch = [p for p in self._pending if p.max_new_tokens == self._pending[0].max_new_tokens][: self.batch_size]
        self._pending = [p for p in self._pending if p not in batch]
        return batch

    async def _run(self, batch: list[PendingRequest]) -> None:
        requests, max_new_tokens = [p.request for p in batch], batch[0].max_new_tokens
        try:
            responses = await asyncio.get_running_loop().run_in_executor(
                self._worker, self._model.respond, requests, max_new_tokens
            )
            if len(responses) != len(batch):
                raise ModelError(f"{self._model.name} gave {len(responses)} answers to {len(batch)} requests.")
        except Exception as error:
            if len(batch) > 1:
                for pending in batch:
                    await self._run([pending])
            elif not batch[0].response.done():
                batch[0].response.set_exception(error)
        else:
            for pending, response in zip(batch, responses, strict=True):
                if not pending.response.done():
                    pending.response.set_result(response)
