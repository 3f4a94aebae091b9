"""The border: geometry, compositing, valid pixels, and its picture."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image

from davsp.errors import ArtefactError, InputError
from davsp.imaging.pixels import as_batch, stack
from davsp.prompts.layouts import Layout, Mode, default_width
from davsp.prompts.visual import VisualPrompt, border_from_png
from tests.reference.deep_alignment import canvas

BORDER = Layout(28, 42, Mode.BORDER, border=7)
ADDITIVE = Layout(28, 42, Mode.ADDITIVE, eps=0.1)


def random_prompt(layout: Layout, seed: int = 0) -> torch.Tensor:
    prompt = torch.rand(3, layout.height, layout.width, generator=torch.Generator().manual_seed(seed))
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
        Layout(28, 42, Mode.BORDER, border=border)


@pytest.mark.parametrize("eps", [0.0, -1.0, 1.5])
def test_a_bound_outside_the_pixel_range_is_refused(eps: float) -> None:
    with pytest.raises(InputError, match="choose a bound"):
        Layout(28, 42, Mode.ADDITIVE, eps=eps)


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
    image = Image.effect_noise((layout.inner[1], layout.inner[0]), 80).convert("RGB")
    applied = stack([prompt.apply_to_image(image)])
    assert (applied - as_batch(prompt.compose(stack([image])))).abs().max() <= 0.5 / 255 + 1e-6


def test_an_image_of_another_shape_is_centred_on_white() -> None:
    prompt = VisualPrompt(BORDER, random_prompt(BORDER))
    applied = prompt.apply_to_image(Image.new("RGB", (5, 50), (255, 0, 0)))
    assert applied.size == (42, 28)
    assert applied.getpixel((8, 14)) == (255, 255, 255)
    assert applied.getpixel((21, 14)) == (255, 0, 0)
