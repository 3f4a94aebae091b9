"""The way to a server: how often it is tried, what it blocks, and when it is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from davsp.errors import DavspError, ModelError
from davsp.util.failures import cause_of, first_line

T = TypeVar("T")

RETRIES = 5
"""How often a query is tried again that a server failed (429, 5xx, no connection), after 3, 6, 12 ... seconds."""
TIMEOUT = 1800
"""Seconds after which a query is not tried again."""
GIVE_UP = 3
"""So many queries in a row that a server failed, with all their retries, and it counts as gone."""
_OF_THE_QUERY = (400, 403, 413, 422)
"""HTTP statuses by which a server refuses one query, and says nothing of the next."""
_MISDIRECTED = {
    401: "it takes no such key",
    404: "it knows no such model, or its API has another address (most end in /v1)",
    405: "its API has another address (most end in /v1)",
}
"""HTTP statuses that every query would get."""


@dataclass
class ServerConnection:
    """What is known of the way to a server. Once GIVE_UP queries in a row have failed for want of it, it is lost for
    good, and nothing more is sent; at once where it says that it does not serve this model here."""

    consecutive_failures: int = 0
    lost: bool = False
    last_failure: str = ""

    async def send(self, call: Callable[[], Awaitable[T]]) -> T:
        """What the call gives. Raises ModelError when it fails, and for every call after the server is lost."""
        from inspect_ai.util import LimitExceededError

        if self.lost:
            raise ModelError(f"not sent: the server was lost ({self.last_failure})")
        try:
            response = await call()
        except (LimitExceededError, DavspError):
            raise
        except Exception as error:
            cause = cause_of(error)
            status = getattr(cause, "status_code", None)
            if status not in _OF_THE_QUERY:
                self.consecutive_failures += 1
                self.lost = self.lost or self.consecutive_failures >= GIVE_UP or status in _MISDIRECTED
                self.last_failure = ": ".join(filter(None, [_MISDIRECTED.get(status or 0), first_line(cause)]))
            raise ModelError(f"the server failed: {first_line(cause)}") from error
        self.consecutive_failures = 0
        return response
