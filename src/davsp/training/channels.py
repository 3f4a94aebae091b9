"""What happens to an image on its way to a model: files that lose something, resizing, crops; passed over in training.

Expectation over transformation (Athalye et al. 2018): each composed image goes through a channel of its own. Resizing
has its gradient; that of a codec is taken to be the identity.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from davsp.imaging.pixels import Pixels, resize, rounded, stack, to_image

QUALITIES = (30, 95)
"""Of JPEG and WEBP files, from and to."""
SCALES = (0.5, 1.0)
"""Of the sides of an image that is resized and brought back."""
CROPPED = 2
"""Pixels that are cut off an edge at most."""
BICUBIC = Image.Resampling.BICUBIC

Channel = Callable[[Float[Tensor, "3 h w"], np.random.Generator], Float[Tensor, "3 h w"]]


def filed(pixels: Float[Tensor, "3 h w"], form: str, quality: int) -> Float[Tensor, "3 h w"]:
    """An image as it comes out of a "JPEG" or "WEBP" file; backwards, what goes in."""
    stream = io.BytesIO()
    to_image(pixels).save(stream, form, quality=quality)
    with Image.open(stream) as image:
        read = stack([image.convert("RGB")])[0].to(pixels.device)
    return pixels + (read - pixels).detach()


def there_and_back(pixels: Float[Tensor, "3 h w"], scale: float) -> Float[Tensor, "3 h w"]:
    """An image resized by `scale`, and resized back to its size."""
    height, width = pixels.shape[1:]
    small = resize(pixels, max(1, round(height * scale)), max(1, round(width * scale)), BICUBIC)
    return resize(small, height, width, BICUBIC)


def cropped(pixels: Float[Tensor, "3 h w"], top: int, left: int, bottom: int, right: int) -> Float[Tensor, "3 h w"]:
    """An image less so many lines at each edge, resized back to its size."""
    height, width = pixels.shape[1:]
    return resize(pixels[:, top : height - bottom, left : width - right], height, width, BICUBIC)


CHANNELS: tuple[Channel, ...] = (
    lambda pixels, rng: filed(pixels, "JPEG", int(rng.integers(QUALITIES[0], QUALITIES[1] + 1))),
    lambda pixels, rng: filed(pixels, "WEBP", int(rng.integers(QUALITIES[0], QUALITIES[1] + 1))),
    lambda pixels, rng: there_and_back(pixels, float(rng.uniform(*SCALES))),
    lambda pixels, rng: cropped(pixels, *(int(n) for n in rng.integers(0, CROPPED + 1, 4))),
    lambda pixels, rng: rounded(pixels),
)


def through_channels(pixels: Pixels, share: float, seeds: Sequence[Sequence[int]]) -> Pixels:
    """Composed images, of which each is sent through a channel with probability `share`; differentiable.

    `seeds`: of each image, what its channel is drawn by.
    """
    sent = []
    for image, seed in zip(pixels, seeds, strict=True):
        rng = np.random.default_rng(list(seed))
        channel = CHANNELS[int(rng.integers(len(CHANNELS)))]
        sent.append(channel(image, rng) if rng.random() < share else image)
    return torch.stack(sent) if isinstance(pixels, Tensor) else sent
