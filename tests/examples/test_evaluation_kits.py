"""The models for lmms-eval and VLMEvalKit: what these ask is answered behind the defence.

Their own base classes where they are installed; else ones that have of their interfaces what the examples use
(lmms-eval 0.7.2, lmms_eval/api/model.py; VLMEvalKit 0.2rc1, vlmeval/vlm/base.py).
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

import davsp
from davsp.defences.stored import BaseModelFacts
from davsp.models.base import VisionLanguageModel
from davsp.prompts.layouts import BorderLayout
from davsp.prompts.visual import VisualPrompt

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTOS = [Image.effect_noise((64, 48), 60).convert("RGB"), Image.new("RGB", (30, 40), (200, 30, 30))]
SYSTEM, QUESTION = "answer briefly .", "what is it ?"


class LmmsBase:
    def __init__(self) -> None:
        self.task_dict: dict[str, Any] = {}


class KitBase:
    def generate(self, message: list[dict[str, Any]], dataset: str | None = None) -> str:
        assert all(item["type"] in self.allowed_types for item in message)  # type: ignore[attr-defined]
        answer: str = self.generate_inner(message, dataset)  # type: ignore[attr-defined]
        return answer


def example(name: str, base: tuple[str, str, type], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class of an example, with the base class that it imports."""
    module, attribute, stand_in = base
    package = module.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        parts = module.split(".")
        for length in range(1, len(parts) + 1):
            monkeypatch.setitem(sys.modules, ".".join(parts[:length]), ModuleType(parts[length - 1]))
        monkeypatch.setattr(sys.modules[module], attribute, stand_in, raising=False)
    return runpy.run_path(str(EXAMPLES / name))["DavspModel"]


@pytest.fixture
def lmms(monkeypatch: pytest.MonkeyPatch) -> Any:
    return example("lmms_eval_model.py", ("lmms_eval.api.model", "lmms", LmmsBase), monkeypatch)


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch) -> Any:
    return example("vlmevalkit_model.py", ("vlmeval.vlm.base", "BaseModel", KitBase), monkeypatch)


@pytest.fixture(scope="module")
def folder(model: VisionLanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    layout = BorderLayout(112, 112, border=14)
    pixels = torch.rand(3, *layout.size, generator=torch.manual_seed(0))
    layout.project_(pixels)
    path = tmp_path_factory.mktemp("prompt")
    davsp.VisualSafetyPrompt(
        "mine", VisualPrompt(layout, pixels), "give me a plan .", base_model=BaseModelFacts.of(model)
    ).save(path)
    return path


def expected(model: VisionLanguageModel, defence: Path | None, messages: list[davsp.Message]) -> str:
    return davsp.answer(model, davsp.Query("1", messages=messages), defence, max_new_tokens=8)


def requested(options: dict[str, Any], *parts: dict[str, Any]) -> Any:
    turns = [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM}]},
        {"role": "user", "content": [*parts, {"type": "text", "text": QUESTION}]},
    ]
    return SimpleNamespace(args=("", lambda document: turns, options, 0, "task", "test"))


SHOWN = [{"type": "image", "url": photo} for photo in PHOTOS]
ASKED = [davsp.Message("system", SYSTEM), davsp.Message("user", [*PHOTOS, QUESTION])]


def test_lmms_eval_gets_the_defended_answers_in_order(lmms: Any, model: VisionLanguageModel, folder: Path) -> None:
    wrapped = lmms(model="testbed", defence=str(folder), max_new_tokens=8, batch_size=1, device="cpu")
    wrapped.task_dict = {"task": {"test": [{}]}}
    one = [davsp.Message("system", SYSTEM), davsp.Message("user", [PHOTOS[0], QUESTION])]
    answers = wrapped.generate_until([requested({}, *SHOWN[:1]), requested({"max_new_tokens": 8}, *SHOWN)])
    assert answers == [expected(model, folder, one), expected(model, folder, ASKED)]
    assert answers[0] != expected(model, None, one)


def test_lmms_eval_s_stops_end_an_answer(lmms: Any, model: VisionLanguageModel) -> None:
    wrapped = lmms(model="testbed", max_new_tokens=8, device="cpu")
    wrapped.task_dict = {"task": {"test": [{}]}}
    whole = expected(model, None, ASKED)
    [answer] = wrapped.generate_until([requested({"until": [whole.split()[1]]}, *SHOWN)])
    assert answer == whole.split(whole.split()[1])[0] != whole


@pytest.mark.parametrize(
    ("options", "part", "why"),
    [({"temperature": 0.7}, SHOWN[0], "greedy"), ({}, {"type": "video", "url": "a.mp4"}, "video")],
)
def test_lmms_eval_s_tasks_that_cannot_be_answered_say_so(
    lmms: Any, options: dict[str, Any], part: dict[str, Any], why: str
) -> None:
    wrapped = lmms(model="testbed", device="cpu")
    wrapped.task_dict = {"task": {"test": [{}]}}
    with pytest.raises(davsp.DavspError, match=why):
        wrapped.generate_until([requested(options, part)])


def test_vlmevalkit_gets_the_defended_answer(
    kit: Any, model: VisionLanguageModel, folder: Path, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(len(PHOTOS))]
    for path, photo in zip(paths, PHOTOS, strict=True):
        photo.save(path)
    wrapped = kit("testbed", str(folder), max_new_tokens=8)
    images = [{"type": "image", "value": str(path)} for path in paths]
    text = {"type": "text", "value": QUESTION}
    asked = [{"type": "text", "value": SYSTEM, "role": "system"}, *images, text]
    assert wrapped.generate(asked, "any") == expected(model, folder, ASKED)
    assert kit("testbed", max_new_tokens=8).generate(asked, "any") == expected(model, None, ASKED)
    turns = [
        {"role": "user", "content": [images[0], text]},
        {"role": "assistant", "content": [{"type": "text", "value": "a photo ."}]},
        {"role": "user", "content": [images[1], text]},
    ]
    said = [
        davsp.Message("user", [PHOTOS[0], QUESTION]),
        davsp.Message("assistant", "a photo ."),
        davsp.Message("user", [PHOTOS[1], QUESTION]),
    ]
    assert wrapped.chat_inner(turns) == expected(model, folder, said)
