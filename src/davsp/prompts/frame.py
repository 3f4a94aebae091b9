"""The frame: a border for images of any size, in nine slices.

Four corners keep their size and four edges repeat along the image's sides, so that one trained frame fits every
image, which keeps its own pixels and its aspect ratio.

    corner | edge ...  | corner
    edge   | the image | edge
    corner | edge ...  | corner
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from davsp.errors import InputError
from davsp.imaging.canvas import Canvas
from davsp.imaging.pixels import Pixels, fit


@dataclass(frozen=True)
class FrameLayout:
    """A frame of `border` pixels whose edges repeat every `edge` pixels, around images on a canvas of any size.

    Its prompt is a square of 2 * border + edge pixels: the corners, one period of every edge, nothing in the middle.
    Raises InputError when there is no width or no period.
    """

    canvas: Canvas
    border: int
    edge: int

    def __post_init__(self) -> None:
        if self.border < 1 or self.edge < 1:
            raise InputError(f"a frame {self.border} pixels wide with a period of {self.edge}: both must be 1 or more.")

    @property
    def height(self) -> int:
        return 2 * self.border + self.edge

    @property
    def width(self) -> int:
        return self.height

    def interior(self, image: Image.Image) -> Image.Image:
        """The RGB image at the size that it has within the frame: its own wherever the model takes any size."""
        size = self.canvas.interior(image.height, image.width, self.border)
        if image.size == size[::-1]:
            return image
        return fit(image, *size)

    def canvas_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the canvas of an interior."""
        return self.canvas.around(height, width, self.border)

    def mask(self) -> Bool[Tensor, "h w"]:
        """bool (H, W): where the prompt has pixels of its own to train."""
        mask = torch.ones(self.height, self.width, dtype=torch.bool)
        mask[self.border : -self.border, self.border : -self.border] = False
        return mask

    def compose(self, prompt: Float[Tensor, "3 h w"], interior: Pixels) -> list[Float[Tensor, "3 _ _"]]:
        """The canvas of each interior (3, H, W), differentiable in `prompt`; inner pixels are `interior` exactly."""
        return [self._surround(prompt, inside) for inside in interior]

    def _surround(self, prompt: Tensor, inside: Tensor) -> Tensor:
        tall, wide = inside.shape[1:]
        height, width = self.canvas_size(tall, wide)
        rows, columns = self._slices(height, tall).to(prompt.device), self._slices(width, wide).to(prompt.device)
        canvas = prompt[:, rows][:, :, columns]
        top, left = slice(self.border, self.border + tall), slice(self.border, self.border + wide)
        hole = torch.zeros(height, width, dtype=torch.bool, device=prompt.device)
        hole[top, left] = True
        placed = torch.zeros_like(canvas)
        placed[:, top, left] = inside
        return torch.where(hole, placed, canvas)

    def _slices(self, length: int, inside: int) -> Int[Tensor, " length"]:
        """Which line of the prompt stands at each line of a canvas."""
        leading = torch.arange(self.border)
        along = self.border + torch.arange(inside) % self.edge
        trailing = self.border + self.edge + torch.arange(length - self.border - inside) % self.border
        return torch.cat([leading, along, trailing])

    def surround(self, picture: Image.Image, image: Image.Image) -> Image.Image:
        """An RGB image of any size within the frame, which is given as a picture of its prompt."""
        inside = self.interior(image)
        height, width = self.canvas_size(inside.height, inside.width)
        rows, columns = self._slices(height, inside.height), self._slices(width, inside.width)
        canvas = Image.fromarray(np.asarray(picture)[rows][:, columns])
        canvas.paste(inside, (self.border, self.border))
        return canvas

    @torch.no_grad()
    def project_(self, prompt: Float[Tensor, "3 h w"], clamp: bool = True) -> None:
        """Move `prompt` to the nearest valid one, in place: nothing in the middle; with `clamp`, pixels in [0, 1]."""
        prompt.mul_(self.mask().to(prompt.device))
        if clamp:
            prompt.clamp_(0, 1)
