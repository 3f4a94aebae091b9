"""What a language model is sent to be judge or grader: messages, texts that cannot close their own tags, digests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, NamedTuple


class Message(NamedTuple):
    """One turn of what a model is sent."""

    role: Literal["system", "user", "assistant"]
    text: str


def tagged(name: str, text: str) -> str:
    """A text between tags that it cannot close itself, for their names depend on it."""
    tag = f"{name}-{digest(text)}"
    return f"<{tag}>\n{text}\n</{tag}>"


def length(messages: Sequence[Message]) -> int:
    """Characters of all messages."""
    return sum(len(message.text) for message in messages)


def digest(*texts: str) -> str:
    """Twelve hex digits that tell prompts apart."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]
