"""The textual half of a visual safety prompt: the safety prefix, and how it joins a question."""

from __future__ import annotations

SAFETY_PREFIX = (
    "First check the image and the text step by step. If anything in them is harmful or illegal, "
    "say sorry and refuse. Otherwise, help fully."
)
"""The default safety prefix. It stands before the question, as in the paper's inference."""


def with_prefix(question: str, prefix: str) -> str:
    """The text a model is asked: the prefix, a line break, the question; the question alone without a prefix."""
    return f"{prefix}\n{question}" if prefix else question
