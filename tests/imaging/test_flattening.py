"""Images whose flat regions are made flat again."""

from __future__ import annotations

import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from davsp.imaging.flattening import flattened
from davsp.imaging.pixels import rounded, stack

RADIUS = 24


@pytest.fixture(scope="module")
def drawing() -> Tensor:
    """Two squares and a word on a ground of another colour."""
    image = Image.new("RGB", (112, 112), (200, 230, 210))
    draw = ImageDraw.Draw(image)
    draw.rectangle((10, 10, 50, 50), fill=(40, 60, 160))
    draw.rectangle((60, 60, 100, 100), fill=(180, 30, 40))
    draw.text((12, 70), "harm", fill=(20, 20, 20), font_size=20)
    return stack([image])[0]


def changed(image: Tensor, levels: int, seed: int = 0) -> Tensor:
    """Every channel of every pixel changed by so many levels, up or down."""
    signs = torch.randint(0, 2, image.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return rounded((image + signs * levels / 255).clamp(0, 1))


def test_a_change_of_a_third_of_the_radius_is_gone_from_flat_regions(drawing: Tensor) -> None:
    found = flattened(changed(drawing, RADIUS // 3), RADIUS)
    off = (found - flattened(drawing, RADIUS)).abs().amax(0) * 255
    inside = torch.zeros(112, 112, dtype=torch.bool)
    for low, high in ((12, 49), (62, 99)):
        inside[low:high, low:high] = True
    inside[:8] = True
    assert off[inside].max() < 3  # a mean of random signs is not quite 0
    assert len(found[:, inside].unique(dim=1).T) == 3
    assert (off > 16).float().mean() < 0.02  # letters have edges


def test_a_larger_change_stays(drawing: Tensor) -> None:
    found = flattened(changed(drawing, 2 * RADIUS), RADIUS)
    assert ((found - drawing).abs().amax(0) * 255 > 16).float().mean() > 0.5


def test_colours_that_lie_alone_stay_as_they_are() -> None:
    """A photograph's many colours, none of which has a share of the image."""
    levels = torch.randperm(256, generator=torch.Generator().manual_seed(0))[:144].float() / 255
    photo = torch.stack([levels, levels.flip(0), levels.roll(7)]).view(3, 12, 12)
    photo = torch.nn.functional.pad(photo, (0, 100, 0, 100), value=0.5)
    found = flattened(photo, 8)
    assert torch.equal(found[:, 12:, 12:], rounded(photo)[:, 12:, 12:])
    assert ((found - rounded(photo))[:, :12, :12].abs() < 17 / 255).all()


def test_an_image_of_one_colour_and_one_of_one_pixel_stay() -> None:
    for size in ((3, 40, 40), (3, 1, 1)):
        flat = torch.full(size, 100 / 255)
        assert torch.equal(flattened(flat, RADIUS), rounded(flat))


def test_the_gradient_reaches_a_flat_region_through_its_mean_and_an_edge_as_it_is() -> None:
    image = torch.full((3, 20, 20), 0.2)
    image[:, :, 10:] = 0.8
    image[:, 5, 5] = 0.5  # between the two colours, and near to neither
    image.requires_grad_()
    flattened(image, RADIUS)[0, 15, 15].backward()
    assert image.grad is not None
    assert image.grad[0, 0, 15].item() == pytest.approx(1 / 200, rel=0.02) and image.grad[0, 15, 2] == 0
    [gradient] = torch.autograd.grad(flattened(image, RADIUS)[0, 5, 5], image)
    assert gradient[0, 5, 5].item() == pytest.approx(1, rel=1e-3)
