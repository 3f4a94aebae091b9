"""What the proxy says when it does not pass a request on, in the form of OpenAI's API."""

from __future__ import annotations

import json
from typing import Any

from davsp.errors import DavspError

_TYPES = {429: "rate_limit_error", 500: "server_error", 502: "server_error", 503: "server_error", 504: "server_error"}


class RequestRefused(DavspError):  # noqa: N818 - it is an answer to a client
    """A request that is not passed on. `status` is that of HTTP; `code` tells programs why."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param

    @property
    def body(self) -> dict[str, Any]:
        """The JSON that the client gets."""
        kind = _TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    @property
    def event(self) -> bytes:
        """The same as a server-sent event, for an answer that has begun."""
        return b"data: " + json.dumps(self.body).encode() + b"\n\n"


def bad_request(message: str, code: str, param: str | None = None) -> RequestRefused:
    """A request that the client has to change."""
    return RequestRefused(400, code, message, param)


class NoPlace(RequestRefused):
    """One that is too many at this moment."""

    def __init__(self) -> None:
        message = "the proxy has as many requests in work as it takes. Try again in a second."
        super().__init__(429, "rate_limit_exceeded", message)
