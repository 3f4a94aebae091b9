"""The text of a server's answer, whole or as a stream of events."""

from __future__ import annotations

from typing import Any

from davsp.judges.refusal import is_refusal
from davsp.judges.thinking import after_thinking
from davsp.util.files import parse_json


def answer_text(body: bytes, is_stream: bool) -> str:
    """The text of the first choice of a chat completion, or of a response; "" where there is none."""
    try:
        if not is_stream:
            return _whole(parse_json(body))
        # Bytes, for in a text other characters end a line, too, which stand in JSON as they are.
        events = (line[5:].strip() for line in body.splitlines() if line.startswith(b"data:"))
        return "".join(
            _piece(parse_json(event.decode("utf-8", "replace"))) for event in events if event and event != b"[DONE]"
        )
    except (ValueError, AttributeError, KeyError, IndexError, TypeError):
        return ""


def verdict(text: str) -> str:
    """ "refused", "answered", or "empty"."""
    answer = after_thinking(text)
    if not (answer or "").strip():
        return "empty"
    return "refused" if is_refusal(answer or "") else "answered"


def _whole(answer: Any) -> str:
    if "choices" in answer:
        return _as_text(answer["choices"][0]["message"].get("content"))
    parts = [part for item in answer["output"] if item.get("type") == "message" for part in item["content"]]
    return "".join(part.get("text", "") for part in parts)


def _piece(event: Any) -> str:
    if "choices" in event:
        first = [choice for choice in event["choices"] if choice.get("index", 0) == 0]
        return "".join(_as_text(choice.get("delta", {}).get("content")) for choice in first)
    return str(event["delta"]) if event.get("type") == "response.output_text.delta" else ""


def _as_text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content)
    return str(content or "")
