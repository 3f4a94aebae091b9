"""LiteLLM's Generic Guardrail API, as `davsp serve` answers it and as LiteLLM's own guardrail takes the answer."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn", "prometheus_client")):
    pytest.skip("the proxy's packages are not installed: pip install 'davsp[dev]'", allow_module_level=True)

from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.imaging.data_uris import from_data_uri
from davsp.imaging.opening import open_image
from tests.serving.processes import OTHER, PHOTO, PREFIX, Proxy, chat, data_uri, serving

PATH = "/beta/litellm_basic_guardrail_api"
GUIDE = Path(__file__).parents[2] / "docs" / "guardrails.md"


@pytest.fixture(scope="module")
def proxy(folder: Path) -> Iterator[Proxy]:
    """With nothing behind it: a guardrail's messages are not sent on."""
    with serving("http://127.0.0.1:9/v1", "--defence", folder) as running:
        yield running


def told(proxy: Proxy, messages: Any, **fields: Any) -> dict[str, Any]:
    reply = proxy.post({"input_type": "request", "request_data": {}, "structured_messages": messages} | fields, PATH)
    assert reply.status_code == 200
    answer: dict[str, Any] = reply.json()
    return answer


def test_messages_come_back_behind_the_defence(proxy: Proxy, prompt: VisualSafetyPrompt) -> None:
    first, last = (chat(image, "what is it ?")["messages"][0] for image in (PHOTO, OTHER))
    said = {"role": "assistant", "content": "a photo ."}
    answer = told(proxy, [first, said, last], images=[data_uri(PHOTO), data_uri(OTHER)], texts=["what is it ?"] * 2)
    assert answer["action"] == "GUARDRAIL_INTERVENED"
    rows = answer["structured_messages"]
    assert rows[1] == said and rows[0]["content"][1]["text"] == "what is it ?"
    assert rows[2]["content"][1]["text"] == f"{PREFIX}\nwhat is it ?"
    for row, image in ((rows[0], PHOTO), (rows[2], OTHER)):
        sent = open_image(from_data_uri(row["content"][0]["image_url"]["url"]))
        assert sent.tobytes() == prompt.apply_to_image(image).tobytes()
    assert told(proxy, None, input_type="response", texts=["an answer"]) == {"action": "NONE"}


@pytest.mark.parametrize(
    ("messages", "fields"),
    [
        (chat("url:https://example.com/photo.png", "what ?")["messages"], {}),
        (chat("url:data:image/png;base64,AAAA", "what ?")["messages"], {}),
        ([{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "x"}}]}], {}),
        (chat("what ?")["messages"], {"images": ["data:image/png;base64,AAAA"]}),
        (None, {"texts": ["what ?"]}),
        (chat("what ?")["messages"], {"input_type": "other"}),
    ],
)
def test_what_cannot_be_put_behind_the_defence_is_blocked(proxy: Proxy, messages: Any, fields: Any) -> None:
    before = proxy.metric("davsp_refused_total")
    answer = told(proxy, messages, **fields)
    assert answer.keys() == {"action", "blocked_reason"} and answer["action"] == "BLOCKED" and answer["blocked_reason"]
    assert proxy.metric("davsp_refused_total") == before + 1


def test_a_proxy_that_observes_is_no_guardrail(folder: Path) -> None:
    with serving("http://127.0.0.1:9/v1", "--defence", folder, "--mode", "observe") as observing:
        answer = told(observing, chat(PHOTO, "what is it ?")["messages"])
        assert answer["action"] == "BLOCKED" and "observes" in answer["blocked_reason"]


def litellm_guardrail(proxy: Proxy) -> Any:
    """LiteLLM's own, by the config in the guide."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing is fetched
    pytest.importorskip("litellm", reason="litellm is not installed")
    from litellm.proxy.guardrails.guardrail_hooks.generic_guardrail_api import GenericGuardrailAPI

    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    [config] = [block for block in blocks if "generic_guardrail_api" in block]
    [entry] = yaml.safe_load(config)["guardrails"]
    params = entry["litellm_params"]
    assert params.pop("guardrail") == "generic_guardrail_api" and params["api_base"].endswith("/v1")
    return GenericGuardrailAPI(
        guardrail_name=entry["guardrail_name"],
        event_hook=params.pop("mode"),
        **params | {"api_base": proxy.address},
    )


def test_litellm_sends_what_it_gets_back(proxy: Proxy, prompt: VisualSafetyPrompt) -> None:
    guardrail = litellm_guardrail(proxy)
    from litellm.llms.openai.chat.guardrail_translation.handler import OpenAIChatCompletionsHandler

    async def sent(*contents: Any) -> Any:
        return await OpenAIChatCompletionsHandler().process_input_messages(chat(*contents), guardrail)

    async def both() -> Any:
        data = await sent(PHOTO, "what is it ?")
        with pytest.raises(Exception, match=r"messages\[0\]"):
            await sent("url:data:image/png;base64,AAAA", "what is it ?")
        return data

    image, text = asyncio.run(both())["messages"][0]["content"]
    seen = open_image(from_data_uri(image["image_url"]["url"]))
    assert seen.tobytes() == prompt.apply_to_image(PHOTO).tobytes()
    assert text["text"] == f"{PREFIX}\nwhat is it ?"
