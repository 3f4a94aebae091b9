"""A custom guardrail of LiteLLM's: every image of a chat goes on behind a defence, or the request is refused.

LiteLLM's config.yaml, beside this file; DAVSP_DEFENCE names the defence's folder:

    model_list:
      - model_name: my-model
        litellm_params: {model: openai/my-model, api_base: http://127.0.0.1:8000/v1, api_key: none}
    guardrails:
      - guardrail_name: davsp
        litellm_params: {guardrail: litellm_guardrail.DavspGuardrail, mode: pre_call, default_on: true}
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from litellm.integrations.custom_guardrail import CustomGuardrail

from davsp.errors import InputError
from davsp.imaging.data_uris import from_data_uri
from davsp.serving.contents import read_chat
from davsp.serving.hardening import Hardener, ImageCache, load_served
from davsp.serving.settings import ServeSettings

CHAT = ("completion", "acompletion")


class DavspGuardrail(CustomGuardrail):
    """Changes images and text where they stand in the request. What it raises is LiteLLM's answer to the client."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        settings = ServeSettings(upstream="", defence=os.environ["DAVSP_DEFENCE"])
        self._hardener = Hardener(load_served(settings), settings, ImageCache(settings.cache_bytes))

    async def async_pre_call_hook(
        self,
        user_api_key_dict: Any,  # noqa: ARG002 - LiteLLM's interface
        cache: Any,  # noqa: ARG002 - LiteLLM's interface
        data: dict[str, Any],
        call_type: str,
    ) -> dict[str, Any]:
        if call_type not in CHAT:
            raise InputError(f"{call_type} does not go through davsp here: use /v1/chat/completions.")
        await asyncio.to_thread(self._harden, data["messages"])
        return data

    def _harden(self, messages: list[Any]) -> None:
        contents = read_chat({"messages": messages})
        if not contents.images:
            return
        if contents.last is None:
            raise InputError("there is an image and no message of the user's.")
        question, text = contents.last.text, None
        for slot in contents.images:
            hardened, _ = self._hardener.image(from_data_uri(slot.url), question)
            slot.fill(hardened.uri)
            text = hardened.text
        contents.last.fill(self._hardener.texts(contents.last.texts) if text is None else [text])
