"""Canvases and the nine-slice frame: one prompt for images of every size, which keep their own pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from davsp.errors import InputError
from davsp.imaging.canvas import Canvas, FixedCanvas, GridCanvas, TiledCanvas
from davsp.imaging.pixels import resize, stack
from davsp.prompts.apply import apply_to_file
from davsp.prompts.frame import FrameLayout
from davsp.prompts.visual import VisualPrompt

QWEN = GridCanvas(28, 56 * 56, 28 * 28 * 1280)
TILES = TiledCanvas(28, ((28, 28), (28, 56), (56, 28), (56, 56)))
FRAME = FrameLayout(GridCanvas(8, 16 * 16, 96 * 96), border=8, edge=16)


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return Image.fromarray(values.astype(np.uint8))


def random_prompt(layout: FrameLayout) -> torch.Tensor:
    prompt = torch.rand(3, *layout.size, generator=torch.Generator().manual_seed(0))
    layout.project_(prompt)
    return prompt


@pytest.mark.parametrize("shape", [(100, 100), (333, 500), (20, 31), (3000, 4000), (57, 5000)])
def test_a_grid_chooses_the_size_that_qwens_own_processor_does(shape: tuple[int, int]) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    assert QWEN.choose(*shape) == smart_resize(*shape, 28, 56 * 56, 28 * 28 * 1280)


def test_an_image_too_narrow_for_a_grid_is_refused() -> None:
    with pytest.raises(InputError, match="too narrow"):
        QWEN.choose(10, 2001)


@pytest.mark.parametrize(
    ("shape", "fits"), [((1, 3000), True), ((3000, 1), True), ((1, 30000), False), ((30000, 1), False)]
)
def test_no_framed_image_is_written_that_qwens_own_processor_refuses(
    shape: tuple[int, int], fits: bool, tmp_path: Path
) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    layout = FrameLayout(QWEN, border=8, edge=16)
    visual = VisualPrompt(layout, random_prompt(layout))
    noise(*shape).save(tmp_path / "narrow.png")
    if fits:
        apply_to_file(visual, tmp_path / "narrow.png", tmp_path / "out.png")
        with Image.open(tmp_path / "out.png") as written:
            size = (written.height, written.width)
        assert smart_resize(*size, 28, 56 * 56, 28 * 28 * 1280) == size
        return
    with pytest.raises(InputError, match=r"too narrow, even within its frame of 8: .*200-fold at most\. Crop it\.$"):
        apply_to_file(visual, tmp_path / "narrow.png", tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


def test_tiles_keep_the_most_pixels_and_waste_the_least() -> None:
    assert TILES.choose(20, 20) == (28, 28)
    assert TILES.choose(20, 50) == (28, 56)
    assert TILES.choose(200, 210) == (56, 56)
    assert TILES.choose(500, 100) == (56, 28)


@pytest.mark.parametrize("canvas", [QWEN, TILES, FixedCanvas(56, 56), FRAME.canvas])
@pytest.mark.parametrize("shape", [(40, 40), (333, 500), (19, 31), (1500, 2000), (60, 300)])
def test_a_framed_image_lies_on_a_size_that_the_model_takes(canvas: Canvas, shape: tuple[int, int]) -> None:
    inside = canvas.inner_size(*shape, border=8)
    size = canvas.outer_size(*inside, border=8)
    assert canvas.choose(*size) == size
    assert all(outer >= inner + 16 for outer, inner in zip(size, inside, strict=True))


@pytest.mark.parametrize("shape", [(40, 41), (33, 60), (17, 75)])
def test_an_image_within_bounds_keeps_its_own_pixels(shape: tuple[int, int]) -> None:
    image = noise(*shape)
    canvas = VisualPrompt(FRAME, random_prompt(FRAME)).apply_to_image(image)
    assert canvas.crop((8, 8, 8 + shape[1], 8 + shape[0])).tobytes() == image.tobytes()
    assert canvas.width % 8 == canvas.height % 8 == 0


def test_corners_stay_and_edges_repeat() -> None:
    prompt, inside = random_prompt(FRAME), stack([noise(40, 30)])
    canvas = FRAME.compose(prompt, inside)[0]
    assert canvas.shape == (3, 56, 48)
    assert torch.equal(canvas[:, :8, :8], prompt[:, :8, :8])
    assert torch.equal(canvas[:, 48:, 40:46], prompt[:, 24:, 26:32])
    top = canvas[:, :8, 8:38]
    assert torch.equal(top[:, :, :16], prompt[:, :8, 8:24])
    assert torch.equal(top[:, :, 16:], top[:, :, :14])
    assert torch.equal(canvas[:, 8:48, 8:38], inside[0])


def test_what_the_grid_adds_is_filled_by_the_frame() -> None:
    prompt, inside = random_prompt(FRAME).clamp(0.1), stack([noise(37, 30)])
    FRAME.project_(prompt)
    canvas = FRAME.compose(prompt, inside)[0]
    outside = torch.ones(canvas.shape[1:], dtype=torch.bool)
    outside[8:45, 8:38] = False
    assert canvas[:, outside].min() >= 0.1


def test_composing_and_rendering_agree() -> None:
    prompt, image = random_prompt(FRAME), noise(37, 30)
    rendered = stack([FRAME.renderer(prompt)(image)])[0]
    composed = FRAME.compose(prompt, stack([image]))[0]
    assert (rendered - composed).abs().max() <= 0.5 / 255 + 1e-6


def test_every_trained_pixel_of_a_frame_gets_a_gradient() -> None:
    prompt = random_prompt(FRAME).requires_grad_()
    sizes = [(40, 30), (33, 64)]
    total = sum(c.sum() for c in FRAME.compose(prompt, [stack([noise(*s)])[0] for s in sizes]))
    total.backward()  # type: ignore[union-attr]
    assert prompt.grad is not None
    assert torch.equal((prompt.grad != 0).all(0), FRAME.mask())


def test_images_beyond_the_bounds_are_scaled() -> None:
    small, large = FrameLayout(QWEN, 8, 16).interior(noise(9, 12)), FRAME.interior(noise(300, 400))
    assert small.width / small.height == pytest.approx(4 / 3, rel=0.05)
    assert small.width > 12
    assert large.width / large.height == pytest.approx(4 / 3, rel=0.05)


@pytest.mark.parametrize("kind", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
@pytest.mark.parametrize(
    "shapes",
    [
        ((60, 90), (28, 28)),
        ((40, 30), (60, 71)),
        ((84, 84), (28, 42)),
        ((84, 56), (28, 28)),
        ((86, 56), (28, 28)),
        ((112, 56), (28, 28)),
        ((40, 20), (30, 28)),
        ((154, 56), (60, 10)),
    ],
)
def test_resizing_equals_pillows(kind: Image.Resampling, shapes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    (height, width), (tall, wide) = shapes
    image = noise(height, width)
    theirs = stack([image.resize((wide, tall), kind)])[0]
    assert torch.equal(resize(stack([image])[0], tall, wide, kind), theirs)


def test_resizing_passes_the_gradient_of_a_weighted_mean() -> None:
    pixels = (stack([noise(12, 12)])[0] * 0.8 + 0.1).requires_grad_()
    resize(pixels, 4, 4, Image.Resampling.BILINEAR).sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.sum().item() == pytest.approx(3 * 16, rel=1e-4)
