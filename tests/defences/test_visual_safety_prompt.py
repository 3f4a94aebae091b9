"""The artefact: saved whole, read back equal, and refused with a reason when it does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from davsp.defences.stored import BaseModelFacts
from davsp.defences.visual_safety_prompt import TrainingFacts, VisualSafetyPrompt
from davsp.errors import ArtefactError, InputError, StorageError
from davsp.imaging.canvas import FixedCanvas
from davsp.imaging.pixels import stack
from davsp.models.base import VisionLanguageModel
from davsp.prompts.frame import FrameLayout
from davsp.prompts.layouts import BorderLayout
from davsp.prompts.visual import VisualPrompt, border_from_png
from davsp.util.files import sha256
from tests.reaching import what_reaches


@pytest.fixture
def prompt(model: VisionLanguageModel) -> VisualSafetyPrompt:
    layout = BorderLayout(112, 112, border=14)
    pixels = torch.rand(3, 112, 112, generator=torch.manual_seed(0))
    layout.project_(pixels)
    training = TrainingFacts(
        layer=4, tau_plus=2.0, tau_minus=-1.0, config={"steps": 3}, data={"a": "b"}, metrics={"kept": 0.5}
    )
    return VisualSafetyPrompt(
        "mine",
        VisualPrompt(layout, pixels),
        "be careful .",
        base_model=BaseModelFacts.of(model),
        training=training,
        direction=torch.randn(160),
    )


def test_saving_and_loading_keeps_everything(prompt: VisualSafetyPrompt, tmp_path: Path) -> None:
    prompt.save(tmp_path)
    read = VisualSafetyPrompt.load(tmp_path)
    assert read.visual is not None and prompt.visual is not None
    assert torch.equal(read.visual.pixels, prompt.visual.pixels)
    assert read.direction is not None and prompt.direction is not None
    assert torch.equal(read.direction, prompt.direction)
    for name in ("name", "prefix", "base_model", "training", "versions"):
        assert getattr(read, name) == getattr(prompt, name)
    assert read.visual.layout == prompt.visual.layout


def test_the_folder_holds_four_files_and_the_picture_is_the_tensor(prompt: VisualSafetyPrompt, tmp_path: Path) -> None:
    prompt.save(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "model.safetensors", "border.png", "README.md"}
    assert prompt.visual is not None
    assert (border_from_png(tmp_path / "border.png").pixels - prompt.visual.pixels).abs().max() <= 1 / 255
    assert "A border of 14 pixels" in (tmp_path / "README.md").read_text()


def test_a_prompt_without_a_visual_part_leaves_images_alone(prompt: VisualSafetyPrompt, tmp_path: Path) -> None:
    replace(prompt, visual=None).save(tmp_path)
    image = Image.new("RGB", (33, 44), "red")
    assert VisualSafetyPrompt.load(tmp_path).apply_to_image(image) is image


def test_asking_puts_prefix_and_border(prompt: VisualSafetyPrompt, model: VisionLanguageModel) -> None:
    image = Image.effect_noise((60, 40), 80).convert("RGB")
    with what_reaches(model) as seen:
        answer = prompt.ask(model, image, "count the shapes .", 5)
    assert isinstance(answer, str) and answer
    [(pixels, text)] = seen
    expected = stack([prompt.apply_to_image(image)])[0]
    torch.testing.assert_close(pixels, expected, atol=1e-5, rtol=0)
    assert "be careful . count the shapes ." in text


@pytest.mark.parametrize("question", ["", "  ", "a\ud800b ?"])
def test_an_unusable_question_is_refused(prompt: VisualSafetyPrompt, model: VisionLanguageModel, question: str) -> None:
    with pytest.raises(InputError, match="the question"):
        prompt.ask(model, Image.new("RGB", (60, 60)), question)


def test_a_prompt_for_another_model_says_what_differs(prompt: VisualSafetyPrompt, model: VisionLanguageModel) -> None:
    other = replace(prompt, base_model=prompt.base_model.model_copy(update={"family": "mllama", "n_layers": 40}))
    with pytest.raises(ArtefactError, match=r"(?s)family: .*mllama.*n_layers: .*40") as caught:
        other.check(model)
    assert "hidden_size" not in str(caught.value)


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_a_newer_schema_asks_for_an_upgrade(prompt: VisualSafetyPrompt, tmp_path: Path) -> None:
    prompt.save(tmp_path)
    edit(tmp_path, schema_version=99)
    with pytest.raises(ArtefactError, match="newer davsp"):
        VisualSafetyPrompt.load(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_truncated_file_is_a_clear_error(prompt: VisualSafetyPrompt, tmp_path: Path, name: str) -> None:
    prompt.save(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtefactError, match="damaged"):
        VisualSafetyPrompt.load(tmp_path)


def test_a_baseline_is_not_taken_for_a_prompt(prompt: VisualSafetyPrompt, tmp_path: Path) -> None:
    prompt.save(tmp_path)
    edit(tmp_path, kind="pat")
    with pytest.raises(ArtefactError, match=r"holds a baseline \(pat\)"):
        VisualSafetyPrompt.load(tmp_path)


def test_a_missing_folder_or_key_is_a_clear_error(prompt: VisualSafetyPrompt, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"no config\.json"):
        VisualSafetyPrompt.load(tmp_path / "nowhere")
    prompt.save(tmp_path)
    edit(tmp_path, base_model={"name": "x"})
    with pytest.raises(ArtefactError, match=r"base_model\.revision"):
        VisualSafetyPrompt.load(tmp_path)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("base_model", "n_layers"), "six"),
        (("base_model", "canvas"), [112]),
        (("training", "tau_plus"), "http://127.0.0.1/x.png"),
        (("training", "metrics", "quality"), {}),
        (("visual", "border"), "wide"),
        (("visual", "border"), -1),
        (("visual", "height"), 10**30),
        (("visual", "mode"), 3),
    ],
)
def test_a_value_of_another_kind_is_a_clear_error(
    prompt: VisualSafetyPrompt, tmp_path: Path, keys: tuple[str, ...], value: object
) -> None:
    prompt.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    part = config
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtefactError, match=r"damaged|does not fit"):
        VisualSafetyPrompt.load(tmp_path)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": ' * 2000, "9" * 5000, "null", "\xff"])
def test_what_is_no_readable_json_is_a_clear_error(prompt: VisualSafetyPrompt, tmp_path: Path, content: str) -> None:
    prompt.save(tmp_path)
    (tmp_path / "config.json").write_bytes(content.encode("latin1"))
    with pytest.raises(ArtefactError, match=r"config\.json is damaged"):
        VisualSafetyPrompt.load(tmp_path)


@pytest.mark.parametrize(
    "canvas",
    [
        {"step": 0, "min_pixels": 3136, "max_pixels": 9216},
        {"step": 28, "min_pixels": 3136, "max_pixels": -1},
        {"step": 28, "min_pixels": 9216, "max_pixels": 3136},
        {"height": 0, "width": 56},
        {"tile": 28, "sizes": []},
        {"tile": 28, "sizes": [[28, 0]]},
    ],
)
def test_a_canvas_without_sizes_is_a_clear_error(
    prompt: VisualSafetyPrompt, tmp_path: Path, canvas: dict[str, object]
) -> None:
    layout = FrameLayout(FixedCanvas(56, 56), border=7, edge=14)
    replace(prompt, visual=VisualPrompt(layout, layout.start(torch.full((3,), 0.5)))).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for part, key in (("base_model", "limits"), ("visual", "canvas")):
        edit(tmp_path, **(config | {part: config[part] | {key: canvas}}))
        with pytest.raises(ArtefactError, match=rf"damaged: {part}\.{key}.*: .*the canvas has no sizes"):
            VisualSafetyPrompt.load(tmp_path)


def test_a_direction_of_no_numbers_is_a_clear_error(prompt: VisualSafetyPrompt, tmp_path: Path) -> None:
    assert prompt.direction is not None
    replace(prompt, direction=prompt.direction * torch.nan).save(tmp_path)
    with pytest.raises(ArtefactError, match="holds values that are no numbers"):
        VisualSafetyPrompt.load(tmp_path)


@pytest.mark.parametrize("tensor", [torch.zeros(3, 50, 50), torch.full((3, 112, 112), float("nan"))])
def test_wrong_pixels_are_a_clear_error(prompt: VisualSafetyPrompt, tmp_path: Path, tensor: torch.Tensor) -> None:
    prompt.save(tmp_path)
    save_file({"prompt": tensor}, tmp_path / "model.safetensors")
    edit(tmp_path, weights_sha256=sha256(tmp_path / "model.safetensors"))
    with pytest.raises(ArtefactError, match=r"does not fit|no numbers"):
        VisualSafetyPrompt.load(tmp_path)


def test_an_unwritable_folder_is_a_clear_error(prompt: VisualSafetyPrompt, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="Choose another output folder"):
        prompt.save(tmp_path / "file" / "folder")


def test_a_kill_between_two_files_is_found_out(
    prompt: VisualSafetyPrompt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt.save(tmp_path)

    def kill(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("davsp.defences.stored.write_json", kill)
    other = replace(prompt, direction=torch.ones(prompt.base_model.hidden_size), prefix="other")
    with pytest.raises(KeyboardInterrupt):
        other.save(tmp_path)
    with pytest.raises(ArtefactError, match="cut short"):
        VisualSafetyPrompt.load(tmp_path)
    monkeypatch.undo()
    other.save(tmp_path)
    assert VisualSafetyPrompt.load(tmp_path).prefix == "other"


def test_a_full_disk_leaves_the_old_artefact_whole(
    prompt: VisualSafetyPrompt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt.save(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="No space left"):
        replace(prompt, prefix="changed").save(tmp_path)
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
