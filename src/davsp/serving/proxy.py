"""What becomes of one request: read, put behind the defence, sent on, answered."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import httpx

from davsp.errors import InputError
from davsp.imaging.data_uris import from_data_uri
from davsp.imaging.opening import open_image
from davsp.serving.answers import answer_text
from davsp.serving.contents import Contents, ImageSlot, Json, check_number, read_chat, read_completions, read_responses
from davsp.serving.exchange import Exchange
from davsp.serving.fetching import AllowedHost, ImageFetcher
from davsp.serving.guardrail import BLOCKED, GUARDRAIL, INTERVENED, NONE, read_guardrail
from davsp.serving.hardening import Hardener, ImageCache, Known, load_served
from davsp.serving.observing import Answer, Observer
from davsp.serving.refused import RequestRefused, bad_request
from davsp.serving.reloading import Reloader
from davsp.serving.service import CHAT, COMPLETIONS, MODELS, RESPONSES, Fields, Service, milliseconds, parsed
from davsp.serving.settings import Mode, OtherImages, ServeSettings, TextOnly
from davsp.serving.upstream import Upstream, failure
from davsp.training.batches import REFUSAL

if TYPE_CHECKING:
    from davsp.defences.image_guards import ImageGuard

Read = Callable[[Json], Contents]
READERS: dict[str, Read] = {CHAT: read_chat, RESPONSES: read_responses, COMPLETIONS: read_completions}
"""By the path of an endpoint under /v1: what finds the images in a request to it."""

FILTERED = "content_filter"
"""What OpenAI-compatible services call a request that they do not let through."""

log = logging.getLogger(__name__)


class Proxy(Service):
    """All that the requests of one worker process share."""

    endpoints: ClassVar[Mapping[str, str]] = dict.fromkeys((*READERS, GUARDRAIL), "POST") | {MODELS: "GET"}

    def __init__(self, settings: ServeSettings, guard: ImageGuard | None = None) -> None:
        """With a `guard`, images that it finds unsafe are refused, before any defence."""
        super().__init__(settings)
        self.guard = guard
        self.upstream = Upstream(settings.upstream, self.limits)
        self.fetcher = ImageFetcher([AllowedHost.parse(text) for text in settings.allow_urls], self.limits)
        self.observer = Observer(settings.sample, self.metrics, settings.log_content)
        self.reloader = Reloader(
            Hardener(load_served(settings), settings, ImageCache(settings.cache_bytes)),
            lambda whole: self.metrics.reloads.labels("loaded" if whole else "kept").inc(),
        )
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="davsp-harden")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Reload the defence on SIGHUP and when its folder changes, as long as the block lasts."""
        reloads: set[asyncio.Task[bool]] = set()

        def on_hangup() -> None:
            task = asyncio.create_task(self.reloader.reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, on_hangup)
        watching = asyncio.create_task(self.reloader.watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, *reloads, return_exceptions=True)
            await self._close()

    async def ready(self) -> dict[str, Any]:
        return {
            "ready": await self.upstream.answers(),
            "defence": self.reloader.hardener.defence.name,
            "mode": self.settings.mode,
        }

    async def _close(self) -> None:
        await self.observer.end()
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self.upstream.close()
        await self.fetcher.close()

    async def answer(self, exchange: Exchange, path: str, body: bytes, record: Fields) -> None:
        begun = time.perf_counter()
        observed: Answer | None = None
        content = body
        if path in READERS and self.settings.mode is Mode.ENFORCE:
            content = await self._defended(path, body, record)
        elif path == GUARDRAIL:
            content = await self._guarded(body, record)
        record["own_ms"] = milliseconds(begun)
        self.metrics.own.labels(path).observe(time.perf_counter() - begun)
        if path == GUARDRAIL:
            await exchange.whole(200, [(b"content-type", b"application/json")], content)
            return
        sent = time.perf_counter()
        target = path + (f"?{exchange.query.decode('latin-1')}" if exchange.query else "")
        is_compared = path in (CHAT, RESPONSES) and self.settings.mode is Mode.OBSERVE and self.observer.is_chosen()
        headers = [(n, v) for n, v in exchange.headers if not (is_compared and n == b"accept-encoding")]
        response = await self.upstream.open(exchange.method, target, headers, content, exchange.id)
        try:
            record["upstream_ms"] = milliseconds(sent)
            self.metrics.upstream.labels(path).observe(time.perf_counter() - sent)
            if is_compared and response.status_code == 200:
                observed = Answer(_is_stream(response))
            await _pass(response, exchange, observed)
        finally:
            await response.aclose()
        if observed is not None:
            self.observer.compare(
                exchange.id, observed, lambda: self._ask_defended(path, target, headers, body, exchange.id)
            )

    async def _defended(self, path: str, body: bytes, record: Fields) -> bytes:
        """The request behind the defence. Raises RequestRefused where that cannot be."""
        request = parsed(body)
        contents = READERS[path](request)
        hardener = self.reloader.hardener
        if contents.last is not None and self.settings.log_content:
            record["text"] = contents.last.text
        await self._harden(hardener, contents, record)
        return _written(request)

    async def _guarded(self, body: bytes, record: Fields) -> bytes:
        """What LiteLLM is told of the messages that it asks about: themselves behind the defence, or why not."""
        try:
            if self.settings.mode is Mode.OBSERVE:
                raise bad_request("the proxy observes, and is no guardrail.", "unsupported_endpoint")
            asked = read_guardrail(parsed(body))
            if asked is None:
                return _written(NONE)
            messages, contents = asked
            await self._harden(self.reloader.hardener, contents, record)
            return _written(INTERVENED | {"structured_messages": messages})
        except RequestRefused as refused:
            record["code"] = refused.code
            self._count_refused(refused)
            return _written(BLOCKED | {"blocked_reason": str(refused)})

    async def _harden(self, hardener: Hardener, contents: Contents, record: Fields) -> None:
        wanted = self._to_harden(contents)
        last = contents.last
        if not contents.images and not contents.goes_on:
            if self.settings.text_only is TextOnly.PREFIX and last is not None:
                last.fill(hardener.texts(last.texts))
            return
        if last is None and not contents.goes_on:
            raise bad_request("there is an image and no message of the user's.", "no_user_message")
        if hardener.needs_images and not wanted:
            raise bad_request("the defence needs an image in the request itself.", "unsupported_content")
        question = last.text if last is not None else ""
        text: str | None = None
        if wanted:
            files = await self._files(wanted)
            with self.place(self.metrics.hardening, self.limits.hardening):
                loop = asyncio.get_running_loop()
                jobs = [
                    loop.run_in_executor(self._threads, self._hardened, hardener, s, f, question)
                    for s, f in zip(wanted, files, strict=True)
                ]
                try:
                    done = await asyncio.gather(*jobs)
                finally:
                    for job in jobs:
                        job.cancel()
            for slot, (hardened, cached) in zip(wanted, done, strict=True):
                slot.fill(hardened.uri)
                self.metrics.images.labels(str(cached).lower()).inc()
                text = hardened.text if slot.from_user or text is None else text
            record |= {"images": len(done), "cached": sum(cached for _, cached in done)}
        if last is not None:
            last.fill(hardener.texts(last.texts) if text is None else [text])

    def _to_harden(self, contents: Contents) -> list[ImageSlot]:
        """The images that are put behind the defence. Raises RequestRefused for too many, and for some that are not."""
        check_number(contents, self.limits)
        others = [slot for slot in contents.images if not slot.from_user]
        if others and self.settings.other_images is OtherImages.REFUSE:
            raise bad_request(
                f"{others[0].where}: images are taken in the user's messages alone.",
                "unsupported_image",
                others[0].where,
            )
        passed = self.settings.other_images is OtherImages.PASS
        return [slot for slot in contents.images if slot.from_user or not passed]

    async def _files(self, slots: list[ImageSlot]) -> list[str | bytes]:
        """The data URIs of images as they came, and the contents of those that are behind URLs."""
        named = [slot for slot in slots if slot.url[:5].lower() != "data:"]
        fetched = iter(await self.fetcher.fetch([slot.url for slot in named]) if named else [])
        return [next(fetched) if slot in named else slot.url for slot in slots]

    def _hardened(self, hardener: Hardener, slot: ImageSlot, file: str | bytes, question: str) -> Known:
        """The image of a slot behind the defence, and whether it was known. Raises RequestRefused."""
        step = "guard"
        try:
            content = file if isinstance(file, bytes) else from_data_uri(file)
            if self.guard is not None:
                image = open_image(content, max_pixels=self.limits.image_pixels)
                if self.guard.is_unsafe(image, question):
                    raise bad_request(f"{slot.where}: the guard found it unsafe.", FILTERED, slot.where)
            step = "defence"
            return hardener.image(content, question)
        except RequestRefused:
            raise
        except InputError as error:
            message = str(error).replace(repr(slot.url[:60]), "it")  # nothing of what was sent
            raise bad_request(f"{slot.where}: {message}", "invalid_image", slot.where) from error
        except Exception as error:
            log.exception(f"{step}_failed")
            raise RequestRefused(500, f"{step}_failed", f"the {step} failed ({type(error).__name__}).") from error

    async def _ask_defended(
        self, path: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes, request_id: str
    ) -> str | None:
        """The whole answer's text behind the defence; None for a request that it leaves as it is."""
        request = parsed(body)
        request.pop("stream_options", None)
        request["stream"] = False
        if path == RESPONSES:
            request["store"] = False
        plain = json.dumps(request, separators=(",", ":")).encode("ascii")
        try:
            defended = await self._defended(path, plain, {})
        except RequestRefused as refused:
            if refused.code == FILTERED:
                return REFUSAL
            raise
        if defended == plain:
            return None
        response = await self.upstream.open("POST", target, headers, defended, f"{request_id}-defended")
        try:
            answer = await response.aread()
        finally:
            await response.aclose()
        if response.status_code != 200:
            raise RequestRefused(502, "upstream_refused", f"the server answered with {response.status_code}.")
        return answer_text(answer, is_stream=False)


async def _pass(response: httpx.Response, exchange: Exchange, observed: Answer | None) -> None:
    """Give the server's answer to the client: a stream piece by piece, anything else as a whole."""
    headers = response.headers.raw
    try:
        if not _is_stream(response):
            content = b"".join([chunk async for chunk in response.aiter_raw()])
            if observed is not None:
                observed.add(content)
            await exchange.whole(response.status_code, headers, content)
            return
        await exchange.start(response.status_code, headers)
        async for chunk in response.aiter_raw():
            if observed is not None:
                observed.add(chunk)
            await exchange.chunk(chunk)
        await exchange.chunk(b"", more=False)
    except httpx.HTTPError as error:
        raise failure(error) from error


def _is_stream(response: httpx.Response) -> bool:
    return str(response.headers.get("content-type", "")).startswith("text/event-stream")


def _written(request: Json) -> bytes:
    try:
        return json.dumps(request, separators=(",", ":"), allow_nan=False).encode("ascii")
    except ValueError as error:
        raise bad_request("the request holds a number that JSON does not have.", "invalid_json") from error
