"""The visual prompt: a border around an image (or, as an ablation, a bounded change added to it)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from davsp.errors import InputError
from davsp.imaging.pixels import Pixels, as_batch, fit

PAPER_SHARE = 30 / 336
"""The paper's border width as a share of the canvas side."""


class Mode(StrEnum):
    """How a visual prompt meets the image."""

    BORDER = "border"
    """The image is shrunk into the middle of the canvas and surrounded."""
    FRAME = "frame"
    """The image keeps its own size and is surrounded by a frame that fits it (`davsp.prompts.frame`)."""
    ADDITIVE = "additive"
    """The image fills the canvas and a change of at most `eps` is added to it."""


@dataclass(frozen=True)
class Layout:
    """How a visual prompt and an image share a canvas of height x width pixels.

    Raises InputError when the border leaves less than a third of either side to the image, or eps is not in (0, 1].
    """

    height: int
    width: int
    mode: Mode
    border: int = 0
    """Width of the border in pixels (Mode.BORDER)."""
    eps: float = 0.0
    """Largest change of a channel, in pixel units (Mode.ADDITIVE)."""

    def __post_init__(self) -> None:
        if self.mode is Mode.BORDER and not 0 < 3 * self.border <= min(self.height, self.width):
            raise InputError(
                f"a border of {self.border} pixels does not suit a canvas of {self.height} x {self.width}: "
                f"choose a width from 1 to {min(self.height, self.width) // 3}."
            )
        if self.mode is Mode.ADDITIVE and not 0 < self.eps <= 1:
            raise InputError(f"eps is {self.eps}: choose a bound in (0, 1], such as 32/255 = 0.1255.")

    @property
    def inner(self) -> tuple[int, int]:
        """Height and width in pixels that the image is resized to."""
        return self.height - 2 * self.border, self.width - 2 * self.border

    def interior(self, image: Image.Image) -> Image.Image:
        """The RGB image resized in one pass to lie centred in `inner`, its sides filled up with white."""
        return fit(image, *self.inner)

    def canvas_size(self, height: int, width: int) -> tuple[int, int]:  # noqa: ARG002 - the same for all
        """Height and width of the canvas of an interior."""
        return self.height, self.width

    def mask(self) -> Bool[Tensor, "h w"]:
        """bool (H, W): where the prompt has pixels of its own to train."""
        mask = torch.ones(self.height, self.width, dtype=torch.bool)
        if self.mode is Mode.BORDER:
            b = self.border
            mask[b : self.height - b, b : self.width - b] = False
        return mask

    def compose(self, prompt: Float[Tensor, "3 h w"], interior: Pixels) -> Float[Tensor, "b 3 h w"]:
        """The canvas a model sees, differentiable in `prompt`.

        Shapes: prompt (3, H, W); interiors (3, *inner); returns (B, 3, H, W), all float32. With a border the
        inner pixels are `interior` exactly (paper, section on the visual safety prompt).
        """
        inside = as_batch(interior)
        if self.mode is Mode.ADDITIVE:
            return (inside + prompt).clamp(0, 1)
        padded = F.pad(inside, (self.border,) * 4)
        return torch.where(self.mask().to(prompt.device), prompt, padded)

    @torch.no_grad()
    def project_(self, prompt: Float[Tensor, "3 h w"], clamp: bool = True) -> None:
        """Move `prompt` to the nearest valid one, in place: changes in [-eps, eps], or a border with nothing inside
        and, with `clamp`, pixels in [0, 1]."""
        if self.mode is Mode.ADDITIVE:
            prompt.clamp_(-self.eps, self.eps)
            return
        prompt.mul_(self.mask().to(prompt.device))
        if clamp:
            prompt.clamp_(0, 1)

    def surround(self, picture: Image.Image, image: Image.Image) -> Image.Image:
        """An RGB image of any size within a border, which is given as a picture of the whole canvas."""
        canvas = picture.copy()
        canvas.paste(self.interior(image), (self.border, self.border))
        return canvas


def default_width(side: int, patch: int) -> int:
    """The multiple of the patch nearest to the paper's share of the canvas side, at least one patch."""
    return max(1, round(side * PAPER_SHARE / patch)) * patch
