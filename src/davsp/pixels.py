"""Images as pixels: float32 in [0, 1], shape (B, 3, H, W), RGB."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps
from torch import Tensor

WHITE = (255, 255, 255)


def fit(image: Image.Image, height: int, width: int) -> Image.Image:
    """The image resized in one pass to lie centred in height x width, its sides filled up with white.

    An image that already has this size is returned as it is. Expects RGB.
    """
    if image.size == (width, height):
        return image
    return ImageOps.pad(image, (width, height), method=Image.Resampling.BICUBIC, color=WHITE)


def to_bytes(image: Image.Image) -> UInt8[Tensor, "3 h w"]:
    """An RGB image as uint8 (3, H, W)."""
    return torch.from_numpy(np.array(image).transpose(2, 0, 1))


def stack(images: Sequence[Image.Image]) -> Float[Tensor, "b 3 h w"]:
    """RGB images of one size as pixels, float32 (B, 3, H, W)."""
    return from_bytes(torch.stack([to_bytes(image) for image in images]))


def from_bytes(values: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """uint8 of any shape as float32 in [0, 1]."""
    return values.float() / 255


def to_image(pixels: Float[Tensor, "3 h w"]) -> Image.Image:
    """Pixels (3, H, W) in [0, 1] as an RGB image, rounded to the nearest of 256 levels."""
    levels = (pixels.detach().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.cpu().permute(1, 2, 0).numpy())
