"""Images as pixels: float32 in [0, 1], shape (B, 3, H, W), RGB."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import PIL
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

WHITE = (255, 255, 255)
Pixels = Float[Tensor, "images 3 _ _"] | Sequence[Float[Tensor, "3 _ _"]]
"""A batch of images as float32 in [0, 1]; a list where their sizes differ."""


def resize_and_pad(image: Image.Image, height: int, width: int) -> Image.Image:
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


def as_batch(pixels: Pixels) -> Float[Tensor, "b 3 h w"]:
    """Images of one size as one tensor; one that is a tensor already is not copied."""
    return pixels if isinstance(pixels, Tensor) else torch.stack(list(pixels))


def from_bytes(values: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """uint8 of any shape as float32 in [0, 1]."""
    return values.float() / 255


def to_image(pixels: Float[Tensor, "3 h w"]) -> Image.Image:
    """Pixels (3, H, W) in [0, 1] as an RGB image, rounded to the nearest of 256 levels."""
    levels = (pixels.detach().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.cpu().permute(1, 2, 0).numpy())


def resize(pixels: Float[Tensor, "3 h w"], height: int, width: int, filter: int) -> Float[Tensor, "3 height width"]:
    """Pixels as Pillow resizes the image that they are saved as: one axis after the other, rounded to 256 levels.

    Differentiable: the rounding is passed over backwards. `filter`: Image.Resampling's BILINEAR, BICUBIC or LANCZOS.
    """
    kind = Image.Resampling(filter)
    # Tensors made anew: one made within `inference_mode` and kept would be of no use in training.
    tall, wide = pixels.shape[1], pixels.shape[2]
    across = torch.from_numpy(_weights(wide, width, kind)).to(pixels.device)
    down = torch.from_numpy(_weights(tall, height, kind)).to(pixels.device)
    levels = _to_levels(pixels.double() * 255)
    if _down_first(tall, wide, height, width):
        levels = _to_levels(_to_levels(down @ levels) @ across.T)
    else:
        levels = _to_levels(down @ _to_levels(levels @ across.T))
    return (levels / 255).to(pixels.dtype)


def fit(pixels: Float[Tensor, "3 h w"], height: int, width: int) -> Float[Tensor, "3 height width"]:
    """Pixels as `resize_and_pad` makes them of the image that they are saved as; differentiable, as `resize`."""
    tall, wide = pixels.shape[1], pixels.shape[2]
    if (tall, wide) == (height, width):
        return pixels
    inner_height, inner_width = height, width
    if wide / tall > width / height:
        inner_height = round(tall / wide * width)
    elif wide / tall < width / height:
        inner_width = round(wide / tall * height)
    shrunk = resize(pixels, inner_height, inner_width, Image.Resampling.BICUBIC)
    left, top = round((width - inner_width) * 0.5), round((height - inner_height) * 0.5)
    sides = (left, width - inner_width - left, top, height - inner_height - top)
    return functional.pad(shrunk, sides, value=1.0)


def rounded(pixels: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Pixels clamped and rounded as `to_image` does it; the gradient is that of the clamping."""
    levels = pixels.clamp(0, 1) * 255
    return (levels + (levels.round() - levels).detach()) / 255


def _down_first(tall: int, wide: int, height: int, width: int) -> bool:
    """Whether Pillow resizes columns before rows: from version 13 on where they lose far more (pull request 9549)."""
    return int(PIL.__version__.partition(".")[0]) >= 13 and tall - height > max(0, 2 * (wide - width))


def _to_levels(values: Tensor) -> Tensor:
    """Values clamped to [0, 255] and rounded; the gradient is that of the clamping."""
    clamped = values.clamp(0, 255)
    return clamped + ((clamped + 0.5).floor() - clamped).detach()


@lru_cache(maxsize=64)  # a training behind channels resizes to ever other sizes
def _weights(before: int, after: int, filter: Image.Resampling) -> np.ndarray:
    """How much each old pixel of a line counts in each new one, float64 (after, before), in Pillow's steps of 2^-22.

    The filter widens when a line shrinks.
    """
    kernel, reach = _KERNELS[filter]
    scale = before / after
    widening = max(scale, 1.0)
    weights = np.zeros((after, before))
    for i in range(after):
        centre = (i + 0.5) * scale
        first = max(int(centre - reach * widening + 0.5), 0)
        last = min(int(centre + reach * widening + 0.5), before)
        values = kernel((np.arange(first, last) - centre + 0.5) / widening)
        weights[i, first:last] = values / values.sum()
    in_steps: np.ndarray = np.trunc(weights * 2**22 + np.copysign(0.5, weights)) / 2**22
    return in_steps


def _triangle(x: np.ndarray) -> np.ndarray:
    height: np.ndarray = np.maximum(1 - np.abs(x), 0)
    return height


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys (1981) with a = -1/2."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _lanczos(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


_KERNELS: dict[Image.Resampling, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    Image.Resampling.BILINEAR: (_triangle, 1.0),
    Image.Resampling.BICUBIC: (_cubic, 2.0),
    Image.Resampling.LANCZOS: (_lanczos, 3.0),
}
