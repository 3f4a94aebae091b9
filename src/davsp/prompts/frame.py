"""The frame: a border for images of any size, in nine slices.

Four corners keep their size and four edges repeat along the image's sides, so that one trained frame fits every
image, which keeps its own pixels and its aspect ratio.

    corner | edge ...  | corner
    edge   | the image | edge
    corner | edge ...  | corner
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from davsp.errors import InputError
from davsp.imaging.canvas import Canvas
from davsp.imaging.pixels import Pixels, resize_and_pad, to_image
from davsp.prompts.layouts import CanvasModel, Layout, Mode, default_width, square_canvas


@dataclass(frozen=True)
class FrameLayout(Layout):
    """A frame of `border` pixels whose edges repeat every `edge` pixels, around images on a canvas of any size.

    Its prompt is a square of 2 * border + edge pixels: the corners, one period of every edge, nothing in the middle.
    Raises InputError when there is no width or no period.
    """

    mode = Mode.FRAME

    canvas: Canvas
    border: int
    edge: int

    def __post_init__(self) -> None:
        if self.border < 1 or self.edge < 1:
            raise InputError(f"a frame {self.border} pixels wide with a period of {self.edge}: both must be 1 or more.")

    @classmethod
    def for_model(cls, model: CanvasModel, *, side: int | None, width: int | None, eps: float) -> FrameLayout:  # noqa: ARG003
        border = width or default_width(min(square_canvas(model, side)), model.grid)
        if border % model.grid:
            raise InputError(
                f"a frame of {border} pixels would cut through the image tokens of {model.name}: "
                f"choose a width that is a multiple of {model.grid}."
            )
        return cls(model.canvas, border, edge=2 * border)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> FrameLayout:
        if facts["canvas"] is None:
            raise InputError("a frame needs to know its model's canvas")
        return cls(facts["canvas"], facts["border"], facts["edge"])

    @property
    def description(self) -> str:
        return (
            f"A frame of {self.border} pixels around images of any size, which keep their own pixels: "
            f"corners stay, edges repeat every {self.edge} pixels."
        )

    @property
    def size(self) -> tuple[int, int]:
        side = 2 * self.border + self.edge
        return side, side

    def mask(self) -> Bool[Tensor, "h w"]:
        mask = torch.ones(self.size, dtype=torch.bool)
        mask[self.border : -self.border, self.border : -self.border] = False
        return mask

    def interior(self, image: Image.Image) -> Image.Image:
        """The RGB image at the size that it has within the frame: its own wherever the model takes any size."""
        return resize_and_pad(image, *self.canvas.inner_size(image.height, image.width, self.border))

    def canvas_size(self, height: int, width: int) -> tuple[int, int]:
        return self.canvas.outer_size(height, width, self.border)

    def fits(self, canvas: Canvas) -> bool:  # noqa: ARG002
        """Always: it is composed anew on each canvas (`on_canvas`)."""
        return True

    def on_canvas(self, canvas: Canvas) -> FrameLayout:
        return replace(self, canvas=canvas)

    def compose(self, prompt: Float[Tensor, "3 h w"], interior: Pixels) -> list[Float[Tensor, "3 _ _"]]:
        """The canvas (3, H, W) of each interior (3, h, w), whose pixels stay exactly as they are."""
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

    def renderer(self, prompt: Float[Tensor, "3 h w"]) -> Callable[[Image.Image], Image.Image]:
        picture = np.asarray(to_image(prompt))

        def render(image: Image.Image) -> Image.Image:
            inside = self.interior(image)
            height, width = self.canvas_size(inside.height, inside.width)
            rows, columns = self._slices(height, inside.height), self._slices(width, inside.width)
            canvas = Image.fromarray(picture[rows][:, columns])
            canvas.paste(inside, (self.border, self.border))
            return canvas

        return render
