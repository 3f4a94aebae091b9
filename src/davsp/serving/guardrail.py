"""LiteLLM's Generic Guardrail API: it shows messages, and takes them back as the model is to get them.

Its form: litellm/types/proxy/guardrails/guardrail_hooks/generic_guardrail_api.py, LiteLLM 1.110.2.
"""

from __future__ import annotations

from typing import Any

from davsp.serving.contents import Contents, Json, read_chat
from davsp.serving.refused import bad_request

GUARDRAIL = "/beta/litellm_basic_guardrail_api"
"""LiteLLM appends it to the address of a guardrail."""
NONE: Json = {"action": "NONE"}
INTERVENED: Json = {"action": "GUARDRAIL_INTERVENED"}
BLOCKED: Json = {"action": "BLOCKED"}


def read_guardrail(request: Json) -> tuple[list[Any], Contents] | None:
    """The messages asked about, and what they hold; None for an answer of the model's, in which nothing is changed.

    Raises RequestRefused for what is not understood, and where an image is not in a message: LiteLLM takes no such
    image back.
    """
    if request.get("input_type") == "response":
        return None
    messages = request.get("structured_messages")
    if request.get("input_type") != "request" or not isinstance(messages, list):
        raise bad_request("the guardrail is asked about no messages: use /v1/chat/completions.", "invalid_messages")
    contents = read_chat({"messages": messages})
    shown = request.get("images") or []
    if not isinstance(shown, list) or any(image not in [slot.url for slot in contents.images] for image in shown):
        raise bad_request("there is an image outside the messages.", "unsupported_content")
    return messages, contents
