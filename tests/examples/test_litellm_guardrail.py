"""The guardrail for LiteLLM, a class of LiteLLM's own: images are replaced where they stand, or the request fails."""

from __future__ import annotations

import asyncio
import os
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing is fetched
pytest.importorskip("litellm", reason="litellm is not installed")

from davsp.defences.stored import BaseModelFacts
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.errors import InputError
from davsp.imaging.data_uris import from_data_uri, to_data_uri
from davsp.imaging.opening import open_image, png_bytes
from davsp.models.base import VisionLanguageModel
from davsp.prompts.layouts import BorderLayout
from davsp.prompts.visual import VisualPrompt

EXAMPLE = Path(__file__).parents[2] / "examples" / "litellm_guardrail.py"
PHOTO = Image.effect_noise((64, 48), 60).convert("RGB")


@pytest.fixture(scope="module")
def prompt(model: VisionLanguageModel) -> VisualSafetyPrompt:
    layout = BorderLayout(112, 112, border=14)
    pixels = torch.rand(3, *layout.size, generator=torch.manual_seed(0))
    layout.project_(pixels)
    return VisualSafetyPrompt("mine", VisualPrompt(layout, pixels), "be careful .", base_model=BaseModelFacts.of(model))


@pytest.fixture
def guardrail(prompt: VisualSafetyPrompt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    prompt.save(tmp_path)
    monkeypatch.setenv("DAVSP_DEFENCE", str(tmp_path))
    return runpy.run_path(str(EXAMPLE))["DavspGuardrail"](
        guardrail_name="davsp", event_hook="pre_call", default_on=True
    )


def asked(url: str) -> dict[str, Any]:
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "what is it ?"}]
    return {"model": "m", "messages": [{"role": "user", "content": content}], "metadata": {"headers": {}}}


def pre_call(guardrail: Any, data: dict[str, Any], call_type: str = "acompletion") -> Any:
    return asyncio.run(guardrail.async_pre_call_hook(None, None, data, call_type))


def test_the_model_gets_the_image_behind_the_border_and_the_prefix(guardrail: Any, prompt: VisualSafetyPrompt) -> None:
    data = pre_call(guardrail, asked(to_data_uri(png_bytes(PHOTO), "image/png")))
    image, text = data["messages"][0]["content"]
    sent = open_image(from_data_uri(image["image_url"]["url"]))
    assert sent.tobytes() == prompt.apply_to_image(PHOTO).tobytes()
    assert [text["text"]] == prompt.apply_to_texts(["what is it ?"])
    assert data["metadata"] == {"headers": {}}


@pytest.mark.parametrize("url", ["https://example.com/photo.png", "data:image/png;base64,AAAA"])
def test_an_image_that_cannot_be_put_behind_the_defence_fails_the_request(guardrail: Any, url: str) -> None:
    with pytest.raises(InputError):
        pre_call(guardrail, asked(url))


def test_other_endpoints_are_refused(guardrail: Any) -> None:
    with pytest.raises(InputError, match="chat/completions"):
        pre_call(guardrail, {"input": "x"}, "aresponses")
