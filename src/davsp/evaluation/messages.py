"""Between Inspect's conversations and a model's requests and responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    Content,
    ContentImage,
    ContentReasoning,
    ContentText,
    ModelOutput,
    ModelUsage,
)

from davsp.data.conversation import Message, Messages, Part, Role, check_roles
from davsp.data.query import Query
from davsp.errors import InputError
from davsp.evaluation.media import decode_image, to_chat
from davsp.imaging.data_uris import png_uri
from davsp.imaging.opening import open_image
from davsp.models.requests import BLOCKED, Request, Response


def read_messages(chat: Sequence[ChatMessage]) -> tuple[Messages, str]:
    """A conversation, its images opened, and how the answer to it begins: a message of the assistant at its end.

    Raises InputError for an image that is no data URI, for what is neither text nor image, and where no user asks.
    """
    messages = [_read(message) for message in chat]
    begun = messages.pop().text if messages and messages[-1].role is Role.ASSISTANT else ""
    check_roles([message.role for message in messages])
    return tuple(messages), begun


def read_query(id: str, chat: Sequence[ChatMessage]) -> Query:
    """The query that a conversation is. Raises InputError where `read_messages` does, or for a begun answer."""
    messages, begun = read_messages(chat)
    if begun:
        raise InputError("davsp's defences answer what a user says last: leave the begun answer out.")
    return Query(id, messages=messages)


def _read(message: ChatMessage) -> Message:
    if isinstance(message, ChatMessageAssistant) and message.tool_calls:
        raise InputError("davsp models call no tools: leave the calls out.")
    if isinstance(message.content, str):
        return Message(message.role, message.content)
    return Message(message.role, [_part(part) for part in message.content if not isinstance(part, ContentReasoning)])


def _part(part: Content) -> Part:
    if isinstance(part, ContentText):
        return part.text
    if isinstance(part, ContentImage):
        return decode_image(part.image)
    raise InputError(f"davsp models take texts and images in a message, not: {part.type}.")


def to_messages(request: Request) -> list[ChatMessage]:
    """The request as a conversation, its images as PNG data URIs.

    Raises InputError for an image that is not usable, for messages that no server takes, and for a watch, which only a
    loaded model can keep.
    """
    if request.watch is not None:
        raise InputError("a gate reads hidden states, which only a loaded model has. Load the model itself.")
    messages = to_chat(request.messages, lambda image: png_uri(open_image(image)))
    if request.begun:
        messages.append(ChatMessageAssistant(content=request.begun))
    return messages


def as_record(request: Request) -> dict[str, Any]:
    """The request for a log: what was said, and where images stood."""
    said = [
        {"role": m.role.value, "content": [part if isinstance(part, str) else {"type": "image"} for part in m.parts]}
        for m in request.messages
    ]
    watched = {"watch": {"layers": list(w.probe.layers), "threshold": w.threshold}} if (w := request.watch) else {}
    sampling = {"temperature": request.temperature, "seed": request.seed}
    return {"messages": said, "begun": request.begun, **sampling, **watched}


def reason_of_block(output: ModelOutput) -> str | None:
    """Why a service refused the request, in its words; None for a request that it did not.

    An answer of which a filter cut off the end is no refusal: what got through is judged.
    """
    if output.stop_reason != "content_filter" or (output.completion.strip() and output.usage is not None):
        return None
    return str((output.metadata or {}).get(BLOCKED) or output.completion.strip() or "its content filter")


def token_usage(response: Response) -> ModelUsage:
    """The tokens of a response; those that the model did not tell count as none."""
    read, written = response.input_tokens or 0, response.output_tokens or 0
    return ModelUsage(input_tokens=read, output_tokens=written, total_tokens=read + written)
