"""Limits of images' sizes: a prompt is composed for those of the processor that is there, or refused.

Checked on the tiny checkpoint of every family whose images vary in size, with the limits in its files changed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image

from davsp import api
from davsp.defences.stored import BaseModelFacts
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.errors import ArtefactError, InputError, ModelError
from davsp.imaging.canvas import TiledCanvas
from davsp.imaging.pixels import Pixels, stack
from davsp.models.base import VisionLanguageModel
from davsp.models.loading import load_model
from davsp.prompts.frame import FrameLayout
from davsp.prompts.layouts import AdditiveLayout, BorderLayout, Layout
from davsp.prompts.visual import VisualPrompt
from tests.models.test_families import noise, ours, theirs
from tests.tiny import save_tiny

QWEN = [
    {"size": {"shortest_edge": 256, "longest_edge": 48**2}},
    {"size": {"shortest_edge": 80**2, "longest_edge": 96**2}},
]
IDEFICS = [{"size": {"longest_edge": 28}}, {"size": {"longest_edge": 112}}]
CHANGES: dict[str, list[dict[str, Any]]] = {
    "qwen2_vl": [*QWEN, {"max_pixels": 48**2}],
    "qwen2_5_vl": QWEN,
    "qwen3_vl": QWEN,
    "internvl": [
        {"max_patches": 2},
        {"min_patches": 3, "max_patches": 16},
        {"crop_to_patches": False, "max_patches": 2},
    ],
    "idefics3": IDEFICS,
    "smolvlm": IDEFICS,
    "llava_next": [{"image_grid_pinpoints": [[28, 56], [56, 28]]}],
    "mllama": [{"max_image_tiles": 2}],
}
"""Of each family, what its processor's file may say of the sizes of images."""
CASES = [(family, change) for family, changes in CHANGES.items() for change in changes]
SHAPES = [(60, 60), (100, 60), (20, 90)]


def with_limits(folder: Path, **change: Any) -> VisionLanguageModel:
    """The checkpoint in a folder, loaded after its processor's file was changed."""
    for path in folder.glob("*processor_config.json"):
        settings = json.loads(path.read_text())
        for part in (settings, settings.get("image_processor", {})):
            if "image_mean" in part:
                part.update(change)
        path.write_text(json.dumps(settings))
    return load_model(str(folder))


def prompt_of(model: VisionLanguageModel, layout: Layout) -> VisualSafetyPrompt:
    pixels = torch.rand(3, *layout.size, generator=torch.manual_seed(0))
    layout.project_(pixels)
    return VisualSafetyPrompt("mine", VisualPrompt(layout, pixels), base_model=BaseModelFacts.of(model))


def packed(model: VisionLanguageModel, image: Image.Image, prompt: VisualSafetyPrompt) -> Pixels:
    """The pixels that the model packs when it is asked about an image behind a prompt."""
    seen = []
    original = type(model).pack

    def pack(self: VisionLanguageModel, pixels: Pixels) -> dict[str, torch.Tensor]:
        seen.append(pixels)
        raise InterruptedError

    with patch.object(type(model), "pack", pack), pytest.raises(InterruptedError):
        api.ask(model, image, "what is it ?", prompt)
    assert original is type(model).pack
    [pixels] = seen
    return pixels


@pytest.mark.parametrize(("family", "change"), CASES)
def test_a_frame_is_composed_for_the_limits_of_the_processor_that_is_there(
    family: str, change: dict[str, Any], tmp_path: Path
) -> None:
    """Its pixels reach the model's packing as they are, and the processor itself would change none of them."""
    before = load_model(str(save_tiny(family, tmp_path / "model")))
    frame = FrameLayout(before.canvas, 4, 8)
    prompt_of(before, frame).save(tmp_path / "prompt")
    after = with_limits(tmp_path / "model", **change)
    assert after.canvas != before.canvas
    prompt = VisualSafetyPrompt.load(tmp_path / "prompt")
    assert prompt.visual
    levels = (prompt.visual.pixels * 255).round() / 255
    for shape in SHAPES:
        [pixels] = packed(after, noise(*shape), prompt)
        assert torch.equal(pixels[:, :4, :4], levels[:, :4, :4]), "the corner has its own pixels"
        assert torch.equal(pixels[:, :4, 4:12], levels[:, :4, 4:12]), "the edge has its own pixels"
        composed = prompt.on_canvas(after.canvas).apply_to_image(noise(*shape))
        assert torch.equal(pixels, stack([composed])[0])
        assert torch.allclose(ours(after, composed)["pixel_values"], theirs(after, composed)["pixel_values"], atol=1e-6)


@pytest.mark.parametrize(("family", "change"), CASES)
def test_the_processor_leaves_every_size_of_the_canvas_as_it_is(
    family: str, change: dict[str, Any], tmp_path: Path
) -> None:
    save_tiny(family, tmp_path)
    model = with_limits(tmp_path, **change)
    canvas = model.canvas
    sizes = canvas.sizes if isinstance(canvas, TiledCanvas) else [canvas.choose(*shape) for shape in SHAPES]
    for size in sizes:
        assert canvas.keeps(*size)
        image = noise(*size)
        mine, its = ours(model, image)["pixel_values"], theirs(model, image)["pixel_values"]
        assert mine.shape == its.shape, size
        assert torch.allclose(mine, its, atol=1e-6), size


LAYOUTS = [BorderLayout(672, 672, 56), AdditiveLayout(672, 672, 0.1)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_canvas_of_one_size_is_refused_where_the_processor_would_shrink_it(layout: Layout, tmp_path: Path) -> None:
    save_tiny("qwen2_vl", tmp_path / "model")
    before = with_limits(tmp_path / "model", size={"shortest_edge": 256, "longest_edge": 1344**2})
    prompt = prompt_of(before, layout)
    prompt.check(before)
    prompt.save(tmp_path / "prompt")
    after = with_limits(tmp_path / "model", size={"shortest_edge": 256, "longest_edge": 400**2})
    assert after.canvas.square == before.canvas.square
    with pytest.raises(ArtefactError) as refused:
        api.ask(after, noise(60, 60), "what is it ?", tmp_path / "prompt")
    assert "\n" not in str(refused.value)
    told = "composes images of 672 x 672 pixels, for images of 256 to 1806336 pixels in all.* takes images of 256 to "
    assert refused.match(told + r"160000 pixels .* would make 400 x 400 of them, border and all\. Set the processor's")
    for other in (replace(prompt, visual=None), prompt_of(before, FrameLayout(before.canvas, 8, 16))):
        other.check(after)


@pytest.mark.parametrize(("family", "side", "change"), [
    ("internvl", 56, {"max_patches": 2}), ("idefics3", 56, {"size": {"longest_edge": 112}}),
    ("llava_next", 56, {"image_grid_pinpoints": [[28, 56], [56, 28]]}), ("mllama", 56, {"max_image_tiles": 2}),
])  # fmt: skip
def test_a_border_on_tiles_that_the_processor_no_longer_cuts_is_refused(
    family: str, side: int, change: dict[str, Any], tmp_path: Path
) -> None:
    before = load_model(str(save_tiny(family, tmp_path)))
    prompt = prompt_of(before, BorderLayout(side, side, 7))
    prompt.check(before)
    with pytest.raises(ArtefactError, match=r"composes images of 56 x 56 pixels, for images of 1 to|for images of"):
        prompt.check(with_limits(tmp_path, **change))


def test_the_limits_of_a_server_can_be_said(tmp_path: Path) -> None:
    model = load_model(str(save_tiny("qwen2_vl", tmp_path)))
    frame = prompt_of(model, FrameLayout(model.canvas, 8, 16))
    assert frame.with_limits() is frame
    image = noise(70, 70)
    limited = frame.with_limits(max_pixels=48**2)
    assert limited.visual and isinstance(limited.visual.layout, FrameLayout)
    assert limited.visual.layout.canvas == replace(model.canvas, max_pixels=48**2)  # type: ignore[type-var]
    small, large = limited.apply_to_image(image), frame.apply_to_image(image)
    assert small.width * small.height <= 48**2 < large.width * large.height
    assert np.array_equal(np.asarray(small)[:8, :8], np.asarray(large)[:8, :8])
    assert limited.identity != frame.identity
    border = prompt_of(model, BorderLayout(64, 64, 8))
    assert border.with_limits(max_pixels=64**2).apply_to_image(image).size == (64, 64)
    with pytest.raises(ArtefactError, match=r"64 x 64 pixels.*the server's processor takes images of 256 to 3969"):
        border.with_limits(max_pixels=64**2 - 127)
    for wrong in ({"min_pixels": 500, "max_pixels": 400}, {"max_pixels": 60}):
        with pytest.raises(InputError, match="in all cannot be"):
            frame.with_limits(**wrong)


def test_limits_of_pixels_are_refused_where_images_are_cut_into_tiles(tmp_path: Path) -> None:
    model = load_model(str(save_tiny("internvl", tmp_path)))
    with pytest.raises(InputError, match="this one takes images of 1 to 4 tiles of 28 x 28 pixels"):
        prompt_of(model, BorderLayout(28, 28, 7)).with_limits(max_pixels=1000)


def test_a_prompt_that_was_saved_without_limits_still_loads(tmp_path: Path) -> None:
    model = load_model(str(save_tiny("qwen2_vl", tmp_path / "model")))
    for layout in (FrameLayout(model.canvas, 8, 16), BorderLayout(64, 64, 8)):
        prompt_of(model, layout).save(tmp_path / "prompt")
        config = json.loads((tmp_path / "prompt" / "config.json").read_text())
        del config["base_model"]["limits"]
        (tmp_path / "prompt" / "config.json").write_text(json.dumps(config))
        old = VisualSafetyPrompt.load(tmp_path / "prompt")
        old.check(model)
        if isinstance(layout, FrameLayout):
            assert old.with_limits(max_pixels=48**2).apply_to_image(noise(70, 70)).width < 56
        else:
            with pytest.raises(ArtefactError, match="does not say which limits it was made for"):
                old.with_limits(max_pixels=48**2)


def test_a_frame_that_no_image_fits_into_is_a_clear_error(tmp_path: Path) -> None:
    model = load_model(str(save_tiny("internvl", tmp_path)))
    wide = prompt_of(model, FrameLayout(model.canvas, 14, 28))
    wide = wide.on_canvas(replace(model.canvas, sizes=((28, 28),)))  # type: ignore[type-var]
    with pytest.raises(InputError, match="no frame of 14 pixels fits around an image of 30 x 20 within the model's"):
        wide.apply_to_image(noise(20, 30))


def test_a_processor_whose_least_is_above_its_most_is_a_clear_error(tmp_path: Path) -> None:
    save_tiny("qwen2_vl", tmp_path)
    with pytest.raises(ModelError, match="at least 256 and at most 100 pixels in all"):
        _ = with_limits(tmp_path, size={"shortest_edge": 256, "longest_edge": 100}).canvas
