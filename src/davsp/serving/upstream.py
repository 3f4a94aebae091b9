"""The server that requests go to: headers that pass, connections, and what goes wrong there."""

from __future__ import annotations

from collections.abc import Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from davsp.errors import InputError
from davsp.serving.refused import RequestRefused
from davsp.serving.settings import Limits

Headers = Sequence[tuple[bytes, bytes]]

CONNECT_SECONDS = 5.0
KEPT_SECONDS = 4.0
"""An idle connection is kept so long: most servers end theirs after five seconds, and one that ends as it is used fails
a request."""
REQUEST_ID = b"x-request-id"
_OF_ONE_CONNECTION = {
    *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te"),
    *(b"trailer", b"transfer-encoding", b"upgrade"),
}
_OF_THE_REQUEST_AS_IT_CAME = {b"host", b"content-length", b"content-type", b"expect", REQUEST_ID}


def passed_on(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers that are not about one connection alone (RFC 9110, section 7.6.1)."""
    named = {
        token.strip().lower() for name, value in headers if name.lower() == b"connection" for token in value.split(b",")
    }
    return [(n, v) for n, v in headers if n.lower() not in _OF_ONE_CONNECTION | named]


def no_cookies() -> CookieJar:
    """A jar that keeps nothing: what a server sets for one client is not sent for another."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


def check_address(address: str) -> str:
    """The address of an API without a slash at its end. Raises InputError for what is none."""
    try:
        url = httpx.URL(address)
        if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment or url.userinfo:
            raise ValueError(address)
    except (httpx.InvalidURL, ValueError) as error:
        raise InputError(
            f"--upstream {address}: give the address of an OpenAI-compatible API, such as http://127.0.0.1:8000/v1."
        ) from error
    return address.rstrip("/")


class Upstream:
    """The API at an address."""

    def __init__(self, address: str, limits: Limits) -> None:
        self.address = check_address(address)
        read = limits.upstream_seconds
        # The environment's proxies and .netrc are left out: requests and keys go to the address that was given.
        self._client = httpx.AsyncClient(
            trust_env=False,
            cookies=no_cookies(),
            verify=httpx.create_ssl_context(),
            follow_redirects=False,
            timeout=httpx.Timeout(read, connect=CONNECT_SECONDS),
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=limits.requests, keepalive_expiry=KEPT_SECONDS
            ),
        )
        self._client.headers.clear()  # those of the client pass, and no others

    async def close(self) -> None:
        await self._client.aclose()

    async def open(self, method: str, path: str, headers: Headers, content: bytes, request_id: str) -> httpx.Response:
        """The server's answer, its body not read yet; to be closed by the caller.

        Raises RequestRefused, 502 or 504, where the server does not answer.
        """
        sent = [(n, v) for n, v in passed_on(headers) if n.lower() not in _OF_THE_REQUEST_AS_IT_CAME]
        if not any(name.lower() == b"accept-encoding" for name, _ in sent):
            sent.append((b"accept-encoding", b"identity"))
        sent.append((REQUEST_ID, request_id.encode("ascii")))
        if method == "POST":
            sent.append((b"content-type", b"application/json"))
        request = self._client.build_request(
            method, self.address + path, headers=sent, content=content if method == "POST" else None
        )
        try:
            return await self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise failure(error) from error

    async def answers(self) -> bool:
        """Whether a server is there. What it says of the request, which brings no key, does not matter."""
        try:
            reply = await self._client.get(f"{self.address}/models", timeout=2.0)
        except httpx.HTTPError:
            return False
        return reply.status_code < 500


def failure(error: httpx.HTTPError) -> RequestRefused:
    """What the client is told of a server that did not answer, or not to the end."""
    if isinstance(error, httpx.TimeoutException):
        return RequestRefused(504, "upstream_timeout", "the server behind the proxy took too long.")
    if isinstance(error, httpx.ConnectError):
        return RequestRefused(502, "upstream_unreachable", "the server behind the proxy cannot be reached.")
    return RequestRefused(502, "upstream_failed", "the server behind the proxy broke off its answer.")
