"""Canvases: the sizes at which an image reaches a model without being resampled by the model's own processor."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

from PIL import Image

from davsp.errors import InputError
from davsp.imaging.pixels import resize_and_pad

PAPER_SIDE = 336
"""Side in pixels of the square canvas that the paper uses for models that take any size."""

MOST_RATIO = 200
"""Of the sides of images that Qwen's processors take; the other families' take any."""


class Canvas(ABC):
    """The sizes (height, width) in pixels that a model takes as they are."""

    any_size: ClassVar[bool] = False
    """Whether images keep their own size, but for rounding and bounds."""

    @property
    @abstractmethod
    def description(self) -> str:
        """Which sizes these are, in a few words."""

    @abstractmethod
    def choose(self, height: int, width: int) -> tuple[int, int]:
        """The size, of those the model takes, at which it sees an image of this size."""

    def keeps(self, height: int, width: int) -> bool:
        """Whether an image of this size reaches the model as it is."""
        return self.choose(height, width) == (height, width)

    def limited(self, min_pixels: int | None, max_pixels: int | None) -> Canvas:
        """The canvas with other limits of an image's pixels in all; None leaves one as it is.

        Raises InputError for limits that cannot be, and where images have no such limits.
        """
        if min_pixels is None and max_pixels is None:
            return self
        raise InputError(
            f"limits of pixels are for models that take images of any size, and this one takes {self.description}: "
            "leave min_pixels and max_pixels out."
        )

    def resize(self, image: Image.Image) -> Image.Image:
        """The RGB image at its chosen size: shrunk or enlarged to fit, its sides filled up with white."""
        return resize_and_pad(image, *self.choose(image.height, image.width))

    @property
    def square(self) -> tuple[int, int]:
        """The size at which the model sees a square image of the paper's side."""
        return self.choose(PAPER_SIDE, PAPER_SIDE)

    def inner_size(self, height: int, width: int, border: int) -> tuple[int, int]:
        """The size that an image takes up within a frame of `border` pixels."""
        tall, wide = self.choose(height + 2 * border, width + 2 * border)
        if min(tall, wide) <= 2 * border:
            raise _no_frame(height, width, border)
        return tall - 2 * border, wide - 2 * border

    def outer_size(self, height: int, width: int, border: int) -> tuple[int, int]:
        """The size of the canvas for an interior: at least `border` pixels on every side."""
        return height + 2 * border, width + 2 * border


@dataclass(frozen=True)
class FixedCanvas(Canvas):
    """One size for all images."""

    height: int
    width: int

    @property
    def description(self) -> str:
        return f"images of {self.height} x {self.width} pixels"

    def choose(self, height: int, width: int) -> tuple[int, int]:  # noqa: ARG002 - the same for all
        return self.height, self.width


@dataclass(frozen=True)
class GridCanvas(Canvas):
    """Any size whose sides are multiples of `step` pixels and whose area lies between two bounds (Qwen-VL)."""

    any_size = True

    step: int
    min_pixels: int
    max_pixels: int

    @property
    def description(self) -> str:
        return (
            f"images of {self.min_pixels} to {self.max_pixels} pixels in all, whose sides are multiples of {self.step}"
        )

    def limited(self, min_pixels: int | None, max_pixels: int | None) -> GridCanvas:
        least = self.min_pixels if min_pixels is None else min_pixels
        most = self.max_pixels if max_pixels is None else max_pixels
        if not 0 < least <= most or most < self.step**2:
            raise InputError(
                f"an image of {least} to {most} pixels in all cannot be: the least must not lie above the most, and "
                f"the most not below {self.step**2} (a square of {self.step})."
            )
        return replace(self, min_pixels=least, max_pixels=most)

    def choose(self, height: int, width: int) -> tuple[int, int]:
        """The nearest multiples, scaled to the bounds where need be. Raises InputError beyond MOST_RATIO."""
        if max(height, width) > MOST_RATIO * min(height, width):
            raise InputError(
                f"an image of {width} x {height} pixels is too narrow: its sides may differ {MOST_RATIO}-fold."
            )
        tall, wide = (max(self.step, round(side / self.step) * self.step) for side in (height, width))
        if tall * wide > self.max_pixels:
            shrink = math.sqrt(height * width / self.max_pixels)
            tall, wide = (max(self.step, math.floor(s / shrink / self.step) * self.step) for s in (height, width))
        elif tall * wide < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (height * width))
            tall, wide = (math.ceil(s * grow / self.step) * self.step for s in (height, width))
        return tall, wide

    def inner_size(self, height: int, width: int, border: int) -> tuple[int, int]:
        """The image's own size, so that it reaches the model as it is; scaled only to keep the canvas in bounds.

        Raises InputError for an image that no such canvas fits, or one beyond MOST_RATIO.
        """
        tall, wide = height, width
        for _ in range(100):
            outer = self.outer_size(tall, wide, border)
            area = math.prod(outer)
            if self.min_pixels <= area <= self.max_pixels:
                if max(outer) > MOST_RATIO * min(outer):
                    raise InputError(
                        f"an image of {width} x {height} pixels is too narrow, even within its frame of {border}: the "
                        f"model takes sides that differ {MOST_RATIO}-fold at most. Crop it."
                    )
                return tall, wide
            bound = self.max_pixels if area > self.max_pixels else self.min_pixels
            # The border does not shrink with the image, and sides are rounded up: go a little beyond, and look again.
            scale = math.sqrt(bound / area) * (0.99 if area > bound else 1.01)
            tall, wide = max(1, round(tall * scale)), max(1, round(wide * scale))
        raise _no_frame(height, width, border)

    def outer_size(self, height: int, width: int, border: int) -> tuple[int, int]:
        """The next multiples of the step: what they add lies at the right and at the bottom."""
        tall, wide = (-(-(side + 2 * border) // self.step) * self.step for side in (height, width))
        return tall, wide

    def resize(self, image: Image.Image) -> Image.Image:
        """The RGB image stretched to its chosen size, as the model's own processor does it."""
        height, width = self.choose(image.height, image.width)
        if image.size == (width, height):
            return image
        return image.resize((width, height), Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class TiledCanvas(Canvas):
    """A list of sizes, each a grid of square tiles of `tile` pixels."""

    tile: int
    sizes: tuple[tuple[int, int], ...]

    @property
    def description(self) -> str:
        counts = [height * width // self.tile**2 for height, width in self.sizes]
        return f"images of {min(counts)} to {max(counts)} tiles of {self.tile} x {self.tile} pixels"

    def choose(self, height: int, width: int) -> tuple[int, int]:
        """The size that keeps most of the image's pixels, and of those the one with the least area left over."""

        def kept_and_wasted(size: tuple[int, int]) -> tuple[float, float]:
            scale = min(size[0] / height, size[1] / width)
            kept = min(height * width, height * width * scale**2)
            return kept, -(size[0] * size[1] - kept)

        return max(self.sizes, key=kept_and_wasted)


def _no_frame(height: int, width: int, border: int) -> InputError:
    return InputError(
        f"no frame of {border} pixels fits around an image of {width} x {height} within the model's limits: raise them "
        "(max_pixels), or train a frame of a smaller width."
    )
