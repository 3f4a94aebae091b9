"""The border: geometry, compositing, valid pixels, and its picture."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image

from davsp.defences.stored_visual import VisualFacts
from davsp.errors import ArtefactError, InputError
from davsp.imaging.canvas import FixedCanvas, GridCanvas
from davsp.imaging.pixels import as_batch, stack
from davsp.prompts.frame import FrameLayout
from davsp.prompts.layouts import AdditiveLayout, BorderLayout, Layout, Mode, default_width
from davsp.prompts.registry import LAYOUTS
from davsp.prompts.visual import VisualPrompt, border_from_png
from tests.reference.deep_alignment import canvas

BORDER = BorderLayout(28, 42, border=7)
ADDITIVE = AdditiveLayout(28, 42, eps=0.1)


def random_prompt(layout: Layout, seed: int = 0) -> torch.Tensor:
    prompt = torch.rand(3, *layout.size, generator=torch.Generator().manual_seed(seed))
    layout.project_(prompt)
    return prompt


def test_composing_agrees_with_the_reference() -> None:
    prompt, interior = random_prompt(BORDER), torch.rand(2, 3, *BORDER.inner)
    composed = BORDER.compose(prompt, interior)
    for one, inside in zip(composed, interior, strict=True):
        assert torch.equal(one, canvas(prompt, inside, 7))


def test_the_border_leaves_the_inner_pixels_untouched() -> None:
    interior = torch.rand(2, 3, *BORDER.inner)
    composed = BORDER.compose(random_prompt(BORDER), interior)
    assert torch.equal(composed[:, :, 7:-7, 7:-7], interior)


def test_gradients_reach_the_border_and_nothing_inside() -> None:
    prompt = random_prompt(BORDER).requires_grad_()
    BORDER.compose(prompt, torch.rand(2, 3, *BORDER.inner)).sum().backward()
    assert prompt.grad is not None
    assert torch.equal(prompt.grad != 0, BORDER.mask().expand(3, -1, -1))


def test_an_additive_change_stays_valid_and_bounded() -> None:
    prompt = torch.full((3, 28, 42), 5.0)
    ADDITIVE.project_(prompt)
    assert prompt.abs().max() <= 0.1
    composed = ADDITIVE.compose(prompt, torch.rand(1, 3, 28, 42))
    assert composed.min() >= 0 and composed.max() <= 1


def test_projection_makes_a_border_an_image() -> None:
    prompt = torch.randn(3, 28, 42) * 3
    BORDER.project_(prompt)
    assert prompt.min() >= 0
    assert prompt.max() <= 1
    assert (prompt[:, ~BORDER.mask()] == 0).all()


@pytest.mark.parametrize(
    ("side", "patch", "width"), [(336, 14, 28), (112, 14, 14), (448, 14, 42), (224, 16, 16), (64, 32, 32)]
)
def test_the_default_width_is_the_patch_multiple_nearest_to_the_papers_share(side: int, patch: int, width: int) -> None:
    assert default_width(side, patch) == width


@pytest.mark.parametrize("border", [0, 10, 100])
def test_a_width_that_does_not_suit_the_canvas_is_refused(border: int) -> None:
    with pytest.raises(InputError, match="choose a width from 1 to 9"):
        BorderLayout(28, 42, border=border)


@pytest.mark.parametrize("eps", [0.0, -1.0, 1.5])
def test_a_bound_outside_the_pixel_range_is_refused(eps: float) -> None:
    with pytest.raises(InputError, match="choose a bound"):
        AdditiveLayout(28, 42, eps=eps)


def test_the_picture_is_transparent_inside_and_opaque_outside() -> None:
    picture = Image.open(BytesIO(VisualPrompt(BORDER, random_prompt(BORDER)).to_png()))
    assert picture.mode == "RGBA"
    alpha = torch.from_numpy(__import__("numpy").array(picture)[..., 3].copy())
    assert torch.equal(alpha == 255, BORDER.mask())
    assert set(alpha.unique().tolist()) == {0, 255}


def test_export_and_import_agree_to_one_8_bit_step(tmp_path: Path) -> None:
    prompt = random_prompt(BORDER)
    (tmp_path / "border.png").write_bytes(VisualPrompt(BORDER, prompt).to_png())
    read = border_from_png(tmp_path / "border.png")
    assert read.layout == BORDER
    assert (read.pixels - prompt).abs().max() <= 1 / 255


def test_importing_a_picture_that_is_no_border_is_refused(tmp_path: Path) -> None:
    Image.new("RGBA", (40, 40), (1, 2, 3, 255)).save(tmp_path / "plain.png")
    with pytest.raises(ArtefactError, match="is no border"):
        border_from_png(tmp_path / "plain.png")


@pytest.mark.parametrize("layout", [BORDER, ADDITIVE])
def test_an_applied_image_is_what_training_composes_to_one_8_bit_step(layout: Layout) -> None:
    prompt = VisualPrompt(layout, random_prompt(layout))
    image = layout.interior(Image.effect_noise((42, 28), 80).convert("RGB"))
    applied = stack([prompt.apply_to_image(image)])
    assert (applied - as_batch(prompt.compose(stack([image])))).abs().max() <= 0.5 / 255 + 1e-6


def test_an_image_of_another_shape_is_centred_on_white() -> None:
    prompt = VisualPrompt(BORDER, random_prompt(BORDER))
    applied = prompt.apply_to_image(Image.new("RGB", (5, 50), (255, 0, 0)))
    assert applied.size == (42, 28)
    assert applied.getpixel((8, 14)) == (255, 255, 255)
    assert applied.getpixel((21, 14)) == (255, 0, 0)


SAVED: dict[Mode, dict[str, object]] = {
    Mode.BORDER: {"border": 14, "eps": 0.0, "edge": 0, "canvas": None},
    Mode.ADDITIVE: {"border": 0, "eps": 0.125, "edge": 0, "canvas": None},
    Mode.FRAME: {"border": 28, "eps": 0.0, "edge": 56, "canvas": {"height": 112, "width": 112}},
}
"""What config.json of a saved prompt says of its layout, on a canvas of 112 x 112 pixels."""


@pytest.mark.parametrize("mode", list(Mode))
def test_what_is_saved_of_a_layout_is_what_was_always_saved(mode: Mode) -> None:
    saved = {"mode": mode.value, "height": 112, "width": 112, **SAVED[mode]}
    layout = VisualFacts.model_validate(saved).layout()
    assert layout.mode is mode and layout.size == (112, 112)
    assert VisualFacts.of(layout).model_dump(mode="json") == saved


def test_a_saved_frame_keeps_the_sizes_of_its_model() -> None:
    layout = FrameLayout(GridCanvas(28, 784, 78400), border=28, edge=56)
    dumped = VisualFacts.of(layout).model_dump(mode="json")
    assert dumped["canvas"] == {"step": 28, "min_pixels": 784, "max_pixels": 78400}
    assert VisualFacts.model_validate(dumped).layout() == layout


def test_a_saved_frame_without_a_canvas_is_refused() -> None:
    with pytest.raises(InputError, match="needs to know its model's canvas"):
        VisualFacts(mode=Mode.FRAME, height=112, width=112, border=28, edge=56).layout()


@pytest.mark.parametrize("mode", list(Mode))
def test_training_starts_from_one_colour_or_from_no_change(mode: Mode) -> None:
    layout = VisualFacts(mode=mode, height=112, width=112, **SAVED[mode]).layout()
    colour = torch.tensor([0.25, 0.5, 0.75])
    start = layout.start(colour)
    if mode is Mode.ADDITIVE:
        assert not start.any()
    else:
        assert torch.equal(start, colour[:, None, None] * layout.mask())


class Tiny:
    """A model of which only the canvas counts."""

    name = "tiny"
    canvas = FixedCanvas(112, 112)
    grid = 8


def test_every_mode_has_the_layout_that_suits_a_model() -> None:
    options = {"side": None, "width": None, "eps": 0.1}
    made = {mode: kind.for_model(Tiny(), **options) for mode, kind in LAYOUTS.items()}  # type: ignore[arg-type]
    assert made == {
        Mode.BORDER: BorderLayout(112, 112, border=8),
        Mode.FRAME: FrameLayout(FixedCanvas(112, 112), border=8, edge=16),
        Mode.ADDITIVE: AdditiveLayout(112, 112, eps=0.1),
    }
    with pytest.raises(InputError, match="choose a width that is a multiple of 8"):
        FrameLayout.for_model(Tiny(), side=None, width=12, eps=0.1)
