"""`davsp ask`: what the model gets to see, behind each kind of defence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from davsp.data.query import Query
from davsp.data.readers import read_conversations
from davsp.defences.stored import BaseModelFacts
from davsp.defences.textual import SafetyPrefix
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.imaging.opening import open_image
from davsp.imaging.pixels import stack
from davsp.models.base import VisionLanguageModel
from davsp.prompts.layouts import BorderLayout
from davsp.prompts.visual import VisualPrompt
from tests.command_line import run
from tests.reaching import what_reaches

QUESTION = "count the shapes ."


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.effect_noise((80, 60), 80).convert("RGB").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_saved_prompt_puts_its_border_and_its_prefix_into_what_the_model_sees(
    model: VisionLanguageModel,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    layout = BorderLayout(112, 112, border=14)
    pixels = torch.rand(3, 112, 112, generator=torch.manual_seed(0))
    layout.project_(pixels)
    prompt = VisualSafetyPrompt("x", VisualPrompt(layout, pixels), "be careful .", base_model=BaseModelFacts.of(model))
    prompt.save(tmp_path / "prompt")
    with what_reaches(model) as seen:
        assert run(monkeypatch, capsys, "ask", photo, QUESTION, "--defence", tmp_path / "prompt")[0] == 0
    [(canvas, text)] = seen
    torch.testing.assert_close(canvas, stack([prompt.apply_to_image(open_image(photo))])[0], atol=1e-5, rtol=0)
    assert f"be careful . {QUESTION}" in text


def test_without_a_defence_the_model_sees_the_image_itself(
    model: VisionLanguageModel, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with what_reaches(model) as seen:
        assert run(monkeypatch, capsys, "ask", photo, QUESTION)[0] == 0
    [(canvas, text)] = seen
    expected = stack([model.canvas.resize(open_image(photo))])[0]
    torch.testing.assert_close(canvas, expected, atol=1e-5, rtol=0)
    assert QUESTION in text and "careful" not in text


CHAT = [
    {"role": "user", "content": [{"type": "image", "image": "photo.png"}, {"type": "text", "text": QUESTION}]},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": [{"type": "text", "text": "what colour ?"}, {"type": "image", "image": "photo.png"}]},
]


@pytest.mark.parametrize("arguments", [["photo.png", "photo.png", QUESTION], [QUESTION], ["--messages", "chat.jsonl"]])
def test_several_images_none_or_a_conversation_are_asked_behind_the_defence(
    arguments: list[str],
    model: VisionLanguageModel,
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(photo.parent)
    (photo.parent / "chat.jsonl").write_text("".join(f"{json.dumps(turn)}\n" for turn in CHAT))
    status, out, _ = run(monkeypatch, capsys, "ask", *arguments, "--defence", "prefix", "--max-new-tokens", 4)
    if "--messages" in arguments:
        asked = read_conversations(photo.parent / "chat.jsonl")[0]
        assert [len(message.images) for message in asked.messages] == [1, 0, 1]
    else:
        asked = Query("q", [open_image(photo)] * (len(arguments) - 1), QUESTION)
    assert (status, out.strip()) == (0, model.generate([SafetyPrefix().defend(asked)], 4)[0].strip())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give the question"),
        (["photo.png"], "give the question"),
        (["photo.png", " "], "the question is empty"),
        (["gone.png", "what ?"], "gone.png: no such file"),
        (["--messages", "chat.jsonl", "what ?"], "leave them out"),
        (["--messages", "two.jsonl"], "two.jsonl holds 2 conversations"),
        (["--messages", "end.json"], "it needs one of a user"),
        (["--messages", "gone.json"], "no such file"),
    ],
)
def test_what_cannot_be_asked_is_said_before_a_model_is_loaded(
    arguments: list[str],
    reason: str,
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(photo.parent)
    Path("two.jsonl").write_text(f"{json.dumps({'messages': CHAT})}\n" * 2)
    Path("chat.jsonl").write_text("".join(f"{json.dumps(turn)}\n" for turn in CHAT))
    Path("end.json").write_text(json.dumps(CHAT[1:2]))
    status, out, err = run(monkeypatch, capsys, "ask", *arguments, "--model", "no-such-model")
    assert (status, out) == (2, "") and reason in " ".join(err.split())


def test_two_defences_are_not_taken_for_one(
    photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, said = run(
        monkeypatch, capsys, "ask", photo, "what is it ?", "--defence", "prefix", "--defence", "adashield-s"
    )
    assert status == 2
    assert "behind one defence" in said


def test_limits_of_pixels_are_for_models_on_servers(
    photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(monkeypatch, capsys, "ask", photo, QUESTION, "--max-pixels", 100)
    assert (status, out) == (2, "") and "leave out --min-pixels and --max-pixels" in err
