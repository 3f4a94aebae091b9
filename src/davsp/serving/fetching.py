"""Fetching the images that clients name by URL, from hosts that the operator named and from nowhere else.

A host's name is resolved once for each image. All its addresses must be public, and the connection goes to the one
that was looked at: a name that changes its address between the look and the connection (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpx

from davsp.errors import InputError
from davsp.serving.refused import RequestRefused, bad_request
from davsp.serving.settings import Limits
from davsp.serving.upstream import no_cookies

REDIRECTS = 3
_EMBEDDING = tuple(ip_network(net) for net in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96"))
"""IPv6 addresses that stand for IPv4 ones, which may be private."""
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, for a port."""


async def resolve(host: str, port: int) -> list[str]:
    """The addresses that the system knows of a host."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet: not private, loopback, link-local, shared or reserved."""
    try:
        ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped:
            return is_public(str(ip.ipv4_mapped))
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not any(ip in net for net in _EMBEDDING)


@dataclass(frozen=True)
class AllowedHost:
    """A host from which images may be fetched: on the standard ports, or on `port` alone, at an `address` that the
    operator gave or at those that its name has."""

    host: str
    port: int | None = None
    address: str | None = None

    @classmethod
    def parse(cls, text: str) -> AllowedHost:
        """HOST, HOST:PORT, HOST=ADDRESS or HOST:PORT=ADDRESS. Raises InputError for anything else."""
        named, _, address = text.partition("=")
        try:
            url = httpx.URL(f"http://{named}")
            if not url.host or url.path != "/" or url.query or url.userinfo or "=" in address:
                raise ValueError(named)
            if address:
                ip_address(address)
        except (httpx.InvalidURL, ValueError) as error:
            raise InputError(
                f"--allow-url {text}: give a host, such as images.example.com, images.example.com:8443, or "
                "images.internal=10.0.0.5 for one at a private address."
            ) from error
        return cls(url.host, url.port or (80 if named.endswith(":80") else None), address or None)

    def allows(self, url: httpx.URL) -> bool:
        """Whether it is the host of a URL, on a port that is its."""
        standard = 443 if url.scheme == "https" else 80
        port = url.port or standard
        return url.host == self.host and port == (self.port or standard)


class ImageFetcher:
    """Fetches images from the hosts in `allowed`, within `limits`."""

    def __init__(
        self,
        allowed: Sequence[AllowedHost],
        limits: Limits,
        resolve: Resolve = resolve,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.allowed, self.limits, self._resolve = tuple(allowed), limits, resolve
        # No connection is kept: two hosts at one address would share it, checked for the first one's name alone.
        self._client = httpx.AsyncClient(
            trust_env=False,
            cookies=no_cookies(),
            follow_redirects=False,
            timeout=limits.url_seconds,
            limits=httpx.Limits(max_keepalive_connections=0),
            transport=transport,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def fetch(self, urls: Sequence[str]) -> list[bytes]:
        """The contents behind URLs, one after the other, within the limits of bytes and of seconds for all together.

        Raises RequestRefused where one may not be fetched, or cannot.
        """
        contents: list[bytes] = []
        try:
            async with asyncio.timeout(self.limits.url_seconds):
                for url in urls:
                    left = self.limits.body_bytes - sum(map(len, contents))
                    contents.append(await self._fetch(url, left))
        except TimeoutError as error:
            raise _failed("it took too long") from error
        except httpx.HTTPError as error:
            raise _failed(type(error).__name__) from error
        return contents

    async def _fetch(self, text: str, most_bytes: int) -> bytes:
        url = self._checked(text)
        address, first = await self._address(url), url.host
        for _ in range(REDIRECTS + 1):
            # The connection is to the address; the name goes into the Host header, and TLS holds the server to it.
            request = self._client.build_request(
                "GET",
                url.copy_with(host=address),
                headers={"host": url.netloc.decode("ascii"), "accept": "image/*", "accept-encoding": "identity"},
                extensions={"sni_hostname": url.host},
            )
            response = await self._client.send(request, stream=True)
            try:
                if not response.has_redirect_location:
                    return await self._read(response, most_bytes)
                url = self._checked(str(url.join(response.headers["location"])))
                if url.host != first:
                    raise _not_allowed("it redirects to another host")
            finally:
                await response.aclose()
        raise _failed("it redirects too often")

    async def _read(self, response: httpx.Response, most_bytes: int) -> bytes:
        if response.status_code != 200:
            raise _failed(f"its server answers with {response.status_code}")
        content = bytearray()
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > most_bytes:
                raise RequestRefused(413, "image_too_large", "an image's URL gives more bytes than a request may have.")
        return bytes(content)

    def _checked(self, text: str) -> httpx.URL:
        try:
            url = httpx.URL(text)
        except httpx.InvalidURL as error:
            raise bad_request("an image's URL cannot be read.", "invalid_image_url") from error
        if url.scheme not in ("http", "https") or url.userinfo:
            raise _not_allowed("only http and https without a user's name are fetched")
        if self._rule(url) is None:
            raise _not_allowed("its host is not among those that images may be fetched from (--allow-url)")
        return url

    def _rule(self, url: httpx.URL) -> AllowedHost | None:
        return next((rule for rule in self.allowed if rule.allows(url)), None)

    async def _address(self, url: httpx.URL) -> str:
        rule = self._rule(url)
        if rule is not None and rule.address:
            return rule.address
        try:
            addresses = await self._resolve(url.host, url.port or (443 if url.scheme == "https" else 80))
        except OSError as error:
            raise _failed("its host is not known") from error
        if not addresses or not all(is_public(address) for address in addresses):
            raise _not_allowed("its host is not at a public address")
        return addresses[0]


def _not_allowed(why: str) -> RequestRefused:
    return bad_request(f"an image's URL is not fetched: {why}. Send the image as a data URI.", "image_url_not_allowed")


def _failed(why: str) -> RequestRefused:
    return bad_request(f"an image's URL could not be fetched: {why}.", "image_url_failed")
