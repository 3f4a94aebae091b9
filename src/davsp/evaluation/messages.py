"""Between Inspect's conversations and a model's requests and responses: one image or none, and a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    Content,
    ContentImage,
    ContentText,
    ModelOutput,
    ModelUsage,
)

from davsp.errors import InputError
from davsp.evaluation.media import encode_image
from davsp.imaging.opening import open_image
from davsp.models.requests import BLOCKED, Request, Response
from davsp.prompts.text import with_prefix


class Turn(NamedTuple):
    """One turn of a user: the image as a data URI (or None), the text, and how the answer begins."""

    image: str | None
    text: str
    begun: str


def read_turn(messages: Sequence[ChatMessage]) -> Turn:
    """The only turn of a conversation; a system message stands before its text.

    Raises InputError unless there is one user message with some text and at most one image, after at most one system
    message and before at most one assistant message, which the answer goes on from.
    """
    system = [m.text for m in messages if isinstance(m, ChatMessageSystem)]
    users = [m for m in messages if isinstance(m, ChatMessageUser)]
    begun = [m.text for m in messages[-1:] if isinstance(m, ChatMessageAssistant)]
    if len(users) != 1 or len(system) > 1 or len(messages) != len(users) + len(system) + len(begun):
        roles = ", ".join(m.role for m in messages) or "none"
        raise InputError(
            "davsp models take one user message, at most one system message, and at most one assistant message at the "
            f"end that the answer goes on from, not: {roles}."
        )
    content = users[0].content
    parts = [ContentText(text=content)] if isinstance(content, str) else content
    images = [part.image for part in parts if isinstance(part, ContentImage)]
    texts = [part.text for part in parts if isinstance(part, ContentText)]
    if len(images) > 1 or not texts or len(parts) != len(images) + len(texts):
        kinds = ", ".join(part.type for part in parts) or "nothing"
        raise InputError(f"davsp models take one image or none, and a text in a message, not: {kinds}.")
    return Turn((*images, None)[0], with_prefix("\n".join(texts), "\n".join(system)), "".join(begun))


def read_query(messages: Sequence[ChatMessage]) -> tuple[str, str]:
    """The image (a data URI) and the text of a query. Raises InputError where `read_turn` does, or without an image."""
    turn = read_turn(messages)
    if turn.image is None or turn.begun:
        raise InputError("davsp's defences take one image and a text in one user message. Give both, and no answer.")
    return turn.image, turn.text


def to_messages(request: Request) -> list[ChatMessage]:
    """The request as a conversation, its image as a PNG data URI.

    Raises InputError for an image that is not usable, and for a watch, which only a loaded model can keep.
    """
    if request.watch is not None:
        raise InputError("a gate reads hidden states, which only a loaded model has. Load the model itself.")
    content: list[Content] = [ContentText(text=request.question)]
    if request.image is not None:
        content.insert(0, ContentImage(image=encode_image(open_image(request.image))))
    messages: list[ChatMessage] = [ChatMessageUser(content=content)]
    if request.begun:
        messages.append(ChatMessageAssistant(content=request.begun))
    return messages


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
