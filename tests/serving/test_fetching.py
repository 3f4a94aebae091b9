"""Images named by URL: fetched from the hosts that were named, at addresses that were looked at, and not otherwise."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from davsp.errors import InputError
from davsp.serving.fetching import AllowedHost, ImageFetcher, is_public
from davsp.serving.refused import RequestRefused
from davsp.serving.settings import Limits

PUBLIC = "93.184.216.34"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Files = self.server  # type: ignore[assignment]
        server.asked.append((self.path, self.headers["Host"]))
        status, headers, content = server.files[self.path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value.replace("PORT", str(server.server_port)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


class Files(ThreadingHTTPServer):
    """A server of files that notes what it is asked."""

    daemon_threads = True

    def __init__(self, files: dict[str, tuple[int, dict[str, str], bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.asked = files, list[tuple[str, str]]()


@contextmanager
def files(**found: tuple[int, dict[str, str], bytes]) -> Iterator[Files]:
    server = Files({f"/{name}": answer for name, answer in found.items()})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def fetch(fetcher: ImageFetcher, *urls: str) -> list[bytes]:
    async def run() -> list[bytes]:
        try:
            return await fetcher.fetch(urls)
        finally:
            await fetcher.close()

    return asyncio.run(run())


def refusal(make: Callable[[], object]) -> RequestRefused:
    with pytest.raises(RequestRefused) as refused:
        make()
    return refused.value


def test_an_image_comes_from_a_host_at_the_address_that_the_operator_gave() -> None:
    with files(a=(200, {}, b"picture"), b=(302, {"Location": "/a"}, b"")) as server:
        host = f"images.internal:{server.server_port}"
        fetcher = ImageFetcher([AllowedHost.parse(f"{host}=127.0.0.1")], Limits())
        assert fetch(fetcher, f"http://{host}/a", f"http://{host}/b") == [b"picture"] * 2
    assert server.asked == [("/a", host), ("/b", host), ("/a", host)]


@pytest.mark.parametrize(
    "url",
    [
        "http://other.example/a",
        "http://good.example:8080/a",
        "http://user:secret@good.example/a",
        "ftp://good.example/a",
        "file:///etc/passwd",
        "http://good.example.evil.example/a",
        "http://good.example@127.0.0.1/a",
        "http://[::1]/a",
        "http://2130706433/a",
        "//good.example/a",
        "",
        "http://good.example\x00/a",
    ],
)
def test_a_url_of_no_named_host_is_not_fetched(url: str) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise AssertionError("it was looked up")

    fetcher = ImageFetcher([AllowedHost.parse("good.example")], Limits(), resolve)
    refused = refusal(lambda: fetch(fetcher, url))
    assert refused.status == 400 and refused.code.startswith(("image_url_not_allowed", "invalid_image_url"))
    assert "secret" not in str(refused)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *(
            "::1",
            "::",
            "fe80::1%eth0",
            "fc00::1",
            "::ffff:127.0.0.1",
            "::ffff:100.100.100.200",
            "fec0::1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "::7f00:1",
        ),
        *("::ffff:100.100.100.200", "fec0::1", "255.255.255.255", "not an address"),
    ],
)
def test_private_addresses_are_refused_even_of_named_hosts(address: str) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return [PUBLIC, address]

    assert not is_public(address)
    fetcher = ImageFetcher([AllowedHost.parse("good.example")], Limits(), resolve)
    assert refusal(lambda: fetch(fetcher, "http://good.example/a")).code == "image_url_not_allowed"


def test_a_public_address_is_public() -> None:
    assert is_public(PUBLIC) and is_public("2606:4700::1111") and is_public("::ffff:1.1.1.1")


def test_a_name_that_changes_its_address_gains_nothing() -> None:
    """DNS rebinding: the second lookup would give loopback. There is none, and the connection goes to the first."""
    looked_up, connected = [], []

    async def resolve(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return [PUBLIC] if len(looked_up) == 1 else ["127.0.0.1"]

    def answer(request: httpx.Request) -> httpx.Response:
        connected.append((request.url.host, request.headers["host"], request.extensions["sni_hostname"]))
        if request.url.path == "/a":
            return httpx.Response(302, headers={"location": "/b"})
        return httpx.Response(200, stream=httpx.ByteStream(b"picture"))

    fetcher = ImageFetcher([AllowedHost.parse("good.example")], Limits(), resolve, httpx.MockTransport(answer))
    assert fetch(fetcher, "https://good.example/a") == [b"picture"]
    assert looked_up == ["good.example"]
    assert connected == [(PUBLIC, "good.example", "good.example")] * 2


def test_a_real_name_of_this_machine_is_refused_before_anything_is_connected() -> None:
    with files(a=(200, {}, b"picture")) as server:
        fetcher = ImageFetcher([AllowedHost.parse(f"localhost:{server.server_port}")], Limits())
        refused = refusal(lambda: fetch(fetcher, f"http://localhost:{server.server_port}/a"))
    assert refused.code == "image_url_not_allowed" and not server.asked


@pytest.mark.parametrize("location", ["http://127.0.0.1:PORT/a", "http://other.example/a", "file:///etc/passwd", "/c"])
def test_redirects_elsewhere_or_without_end_are_refused(location: str) -> None:
    with files(a=(200, {}, b"picture"), c=(302, {"Location": location}, b"")) as server:
        host = f"images.internal:{server.server_port}"
        fetcher = ImageFetcher([AllowedHost.parse(f"{host}=127.0.0.1")], Limits())
        refusal(lambda: fetch(fetcher, f"http://{host}/c"))
    assert "/a" not in [path for path, _ in server.asked]


def test_bytes_and_seconds_are_limited_for_all_images_together() -> None:
    with files(a=(200, {}, b"x" * 600), b=(404, {}, b"")) as server:
        host = f"images.internal:{server.server_port}"
        allowed = [AllowedHost.parse(f"{host}=127.0.0.1")]
        a, b = f"http://{host}/a", f"http://{host}/b"
        assert refusal(lambda: fetch(ImageFetcher(allowed, Limits(body_bytes=1000)), a, a)).status == 413
        assert "404" in str(refusal(lambda: fetch(ImageFetcher(allowed, Limits()), b)))

    async def never(host: str, port: int) -> list[str]:
        await asyncio.sleep(60)
        return []

    slow = ImageFetcher([AllowedHost.parse("good.example")], Limits(url_seconds=0.05), never)
    assert "too long" in str(refusal(lambda: fetch(slow, "http://good.example/a")))


@pytest.mark.parametrize("text", ["", "http://a/b", "a/b", "a=b", "a:b", "u@a", "a=10.0.0.1=b"])
def test_a_host_that_cannot_be_one_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(InputError, match="--allow-url"):
        AllowedHost.parse(text)
