"""A loaded model behind a defence, gates included, by OpenAI's API: for trying, and for small loads."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from davsp.data.chat_forms import RawImage, read_turn
from davsp.data.conversation import Message, Messages, Part, check_roles, last_user
from davsp.data.query import Query, check_question
from davsp.defences.base import Defence, Exchange
from davsp.errors import DavspError, InputError
from davsp.evaluation.batching import Batcher, LocalModel
from davsp.imaging.data_uris import from_data_uri
from davsp.imaging.opening import open_image
from davsp.models.requests import Request, Response
from davsp.serving import exchange as http
from davsp.serving.contents import Json, check_number, read_chat
from davsp.serving.refused import RequestRefused, bad_request
from davsp.serving.service import CHAT, MODELS, Fields, Service, milliseconds, parsed
from davsp.serving.settings import Limits, ServeSettings

_TAKEN = {
    *("model", "messages", "temperature", "seed", "max_tokens", "max_completion_tokens", "stream", "stream_options"),
    *("user", "metadata", "store"),
}
"""Fields of a request that are understood, or that an answer does not depend on."""
_JSON = [(b"content-type", b"application/json")]
_EVENTS = [(b"content-type", b"text/event-stream")]


@dataclass(frozen=True)
class Asked:
    """A conversation, and how it is to be answered."""

    query: Query
    max_new_tokens: int
    temperature: float
    seed: int
    stream: bool

    @classmethod
    def read(cls, body: Json, max_new_tokens: int, limits: Limits) -> Asked:
        """What a request asks, its images opened. Raises RequestRefused for what a loaded model is not asked."""
        if unknown := sorted(name for name in body.keys() - _TAKEN if body[name] is not None):
            raise bad_request(
                f"{unknown[0]} is not known to a loaded model: leave it out.", "unsupported_field", unknown[0]
            )
        check_number(read_chat(body), limits)
        try:
            limit = int(body.get("max_completion_tokens") or body.get("max_tokens") or max_new_tokens)
            if limit < 1:
                raise bad_request("max_tokens is 1 or more.", "invalid_request", "max_tokens")
            seed = int(body.get("seed") or 0)
            if not -(2**63) <= seed < 2**63:
                raise bad_request("seed is an integer of 64 bits.", "invalid_request", "seed")
            return cls(
                Query("the request", messages=_messages(body["messages"], limits.image_pixels)),
                limit,
                float(body.get("temperature") or 0),
                seed,
                bool(body.get("stream")),
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise bad_request("temperature, seed and max_tokens are numbers.", "invalid_request") from error


def _messages(turns: list[Any], most_pixels: int) -> Messages:
    """The conversation, its images opened. Raises RequestRefused for one that cannot be answered."""

    def part_of(part: str | RawImage) -> Part:
        if isinstance(part, str):
            return part
        try:
            return open_image(from_data_uri(part.value or ""), max_pixels=most_pixels)
        except InputError as error:
            raise bad_request("an image is damaged, too large, or no data URI.", "invalid_image") from error

    try:
        read = [read_turn(turn) for turn in turns]
        check_roles([turn.role for turn in read])
        messages = tuple(Message(turn.role, map(part_of, turn.parts)) for turn in read)
        check_question(messages[last_user(messages)].text, "the request")
    except InputError as error:
        raise bad_request(str(error), "invalid_messages") from error
    return messages


class LocalService(Service):
    """Answers with a loaded model. Requests that arrive together are answered in batches."""

    endpoints: ClassVar[Mapping[str, str]] = {CHAT: "POST", MODELS: "GET"}

    def __init__(
        self, model: LocalModel, defence: Defence, batch_size: int, max_new_tokens: int, settings: ServeSettings
    ) -> None:
        super().__init__(settings)
        self.model, self.defence, self.max_new_tokens = model, defence, max_new_tokens
        self._batcher = Batcher(model, batch_size)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self._batcher.close()

    async def ready(self) -> dict[str, Any]:
        return {"ready": True, "defence": self.defence.name, "model": self.model.name}

    async def answer(self, exchange: http.Exchange, path: str, body: bytes, record: Fields) -> None:
        if path == MODELS:
            entry = {"id": self.model.name, "object": "model", "created": 0, "owned_by": "davsp"}
            await exchange.whole(200, _JSON, json.dumps({"object": "list", "data": [entry]}).encode())
            return
        asked = await asyncio.to_thread(Asked.read, parsed(body), self.max_new_tokens, self.limits)
        begun = time.perf_counter()
        text, finished, exchanged = await self._ask(asked)
        told = {"unfamiliar": exchanged.unfamiliar, "alarm": exchanged.alarm}
        if exchanged.alarm:
            self.metrics.alarms.inc()
        record |= {
            "images": len(asked.query.images),
            "calls": exchanged.cost.calls,
            **{name: value for name, value in told.items() if value is not None},
            "model_ms": milliseconds(begun),
        }
        head = {"id": f"chatcmpl-{exchange.id}", "created": int(time.time()), "model": self.model.name}
        end = "stop" if finished else "length"
        read, written = exchanged.cost.input_tokens or 0, exchanged.cost.output_tokens or 0
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        if not asked.stream:
            message = {"role": "assistant", "content": text}
            choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": end}
            whole = head | {"object": "chat.completion", "choices": [choice], "usage": usage}
            await exchange.whole(200, _JSON, json.dumps(whole).encode())
            return
        await exchange.start(200, _EVENTS)
        for delta, reason in (({"role": "assistant", "content": text}, None), ({}, end)):
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            event = head | {"object": "chat.completion.chunk", "choices": [choice]}
            await exchange.chunk(b"data: " + json.dumps(event).encode() + b"\n\n")
        await exchange.chunk(b"data: [DONE]\n\n", more=False)

    async def _ask(self, asked: Asked) -> tuple[str, bool, Exchange]:
        """The answer, whether it ended by itself, and what it cost. Raises RequestRefused."""
        finished = True

        async def send(request: Request, limit: int | None) -> Response:
            nonlocal finished
            if not request.temperature:
                request = replace(request, temperature=asked.temperature, seed=asked.seed)
            response = await self._batcher.respond(request, limit or asked.max_new_tokens)
            finished = response.finished
            return response

        exchanged = Exchange(send)
        try:
            if not asked.query.images:  # as a proxy does: untouched
                return (await exchanged.ask(Request(asked.query.messages))).text, finished, exchanged
            answer = await self.defence.answer(asked.query, exchanged)
        except InputError as error:
            raise bad_request(str(error), "unsupported_content") from error
        except DavspError as error:
            raise RequestRefused(500, "defence_failed", str(error)) from error
        return answer, finished, exchanged
