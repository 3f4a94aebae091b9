"""Looking before switching: the answers behind the defence beside those that clients got without it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from davsp.rates import Rate
from davsp.serving.answers import answer_text, verdict
from davsp.serving.metrics import Metrics

MOST_BYTES = 4 * 2**20
"""Of an answer that is kept to be compared."""
MOST_AT_A_TIME = 8
"""Requests that are asked again at the same time. More are not compared: clients come first."""
LAST_SECONDS = 5.0
"""That a comparison in work may still take when the service ends."""

log = logging.getLogger(__name__)


class Answer:
    """What a client gets, kept as it passes."""

    def __init__(self, is_stream: bool) -> None:
        self.is_stream = is_stream
        self._body: bytearray | None = bytearray()

    def add(self, chunk: bytes) -> None:
        """Keep a piece; of an answer that is too long, nothing."""
        if self._body is not None:
            self._body += chunk
            if len(self._body) > MOST_BYTES:
                self._body = None

    @property
    def text(self) -> str | None:
        """What it says; None where it was too long."""
        return None if self._body is None else answer_text(bytes(self._body), self.is_stream)


class Observer:
    """Asks a sample of the requests again behind the defence, and counts how the answers differ."""

    def __init__(self, share: float, metrics: Metrics, log_content: bool) -> None:
        self._share, self._metrics, self._log_content = share, metrics, log_content
        self._running: set[asyncio.Task[None]] = set()
        self._counts: Counter[tuple[str, str]] = Counter()

    def is_chosen(self) -> bool:
        """Whether the next request is compared."""
        return len(self._running) < MOST_AT_A_TIME and random.random() < self._share  # noqa: S311 - no secret

    def compare(self, request_id: str, undefended: Answer, ask_defended: Callable[[], Awaitable[str | None]]) -> None:
        """Ask behind the defence, in the background. `ask_defended` gives None for a request without anything to
        defend; what it raises counts as "failed"."""
        task = asyncio.create_task(self._compare(request_id, undefended, ask_defended))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _compare(
        self, request_id: str, undefended: Answer, ask_defended: Callable[[], Awaitable[str | None]]
    ) -> None:
        before = undefended.text
        if before is None:
            return
        fields: dict[str, object] = {"request_id": request_id}
        try:
            after = await ask_defended()
            if after is None:
                return
            verdicts = verdict(before), verdict(after)
        except Exception as error:
            after, verdicts = "", (verdict(before), "failed")
            fields["error"] = getattr(error, "code", type(error).__name__)
        equal = before == after
        self._counts[verdicts] += 1
        self._metrics.observed.labels(*verdicts, str(equal).lower()).inc()
        fields |= {"undefended": verdicts[0], "defended": verdicts[1], "equal": equal}
        if self._log_content:
            fields |= {"undefended_text": before, "defended_text": after}
        log.info("observed", extra={"fields": fields})

    async def end(self) -> None:
        """Wait a moment for what is running, drop what is not done then, and log what all came to: rates of refusals
        with N and 95 % Wilson intervals."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=LAST_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if not self._counts:
            return
        judged = {pair: n for pair, n in self._counts.items() if not {"empty", "failed"} & set(pair)}
        n, unscored = sum(judged.values()), self._counts.total() - sum(judged.values())
        rates = {
            side: Rate.of(sum(n for pair, n in judged.items() if pair[place] == "refused"), n, unscored).model_dump()
            for place, side in enumerate(("undefended_refused", "defended_refused"))
        }
        log.info("observed_in_all", extra={"fields": rates})
