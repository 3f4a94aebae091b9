"""Pixels that are resized as Pillow resizes images, and carry a gradient."""

from __future__ import annotations

import pytest
import torch

from davsp.imaging.pixels import fit, resize_and_pad, rounded, stack, to_image


@pytest.mark.parametrize("size", [(40, 40), (40, 64), (64, 40), (33, 57), (120, 90), (20, 20)])
def test_fitting_pixels_is_fitting_the_image(size: tuple[int, int]) -> None:
    pixels = torch.rand(3, *size)
    expected = stack([resize_and_pad(to_image(pixels), 40, 40)])[0]
    assert (fit(rounded(pixels), 40, 40) - expected).abs().max() < 1e-6


def test_fitted_pixels_have_the_gradient_of_what_they_came_from() -> None:
    pixels = torch.full((3, 20, 30), 0.5, requires_grad=True)
    fit(pixels, 40, 40).sum().backward()
    assert pixels.grad is not None and pixels.grad.sum().item() == pytest.approx(3 * 27 * 40, rel=0.02)


def test_rounding_is_that_of_a_file_and_passes_the_gradient_on() -> None:
    pixels = torch.tensor([-0.1, 0.1, 0.5, 1.2], requires_grad=True)
    values = rounded(pixels)
    assert torch.allclose(values * 255, torch.tensor([0.0, 26.0, 128.0, 255.0]))
    assert torch.autograd.grad(values.sum(), pixels)[0].tolist() == [0, 1, 1, 0]
