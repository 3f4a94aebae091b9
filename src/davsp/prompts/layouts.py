"""Layouts: how a visual prompt and an image share the canvas that a model sees.

BorderLayout surrounds the image on a canvas of one size (the paper's visual safety prompt), AdditiveLayout adds a
bounded change to the image (the paper's ablation); `davsp.prompts.frame` surrounds images of any size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from davsp.errors import InputError
from davsp.imaging.canvas import Canvas
from davsp.imaging.pixels import Pixels, as_batch, resize_and_pad, stack, to_image
from davsp.util.devices import on_device

PAPER_SHARE = 30 / 336
"""The paper's border width as a share of the canvas side."""


class Mode(StrEnum):
    """The layouts by name, in configurations and saved prompts; `davsp.prompts.registry` has their classes."""

    BORDER = "border"
    FRAME = "frame"
    ADDITIVE = "additive"


@runtime_checkable
class CanvasModel(Protocol):
    """What a layout needs to know of a model; every VisionLanguageModel is one."""

    @property
    def name(self) -> str: ...

    @property
    def canvas(self) -> Canvas: ...

    @property
    def grid(self) -> int: ...


class Layout(ABC):
    """How a visual prompt, float32 (3, H, W), and an image share a canvas. Layouts are equal when all their values are.

    The defaults here are those of a prompt that has pixels of its own around the image, and none inside.
    """

    mode: ClassVar[Mode]
    has_official_format: ClassVar[bool] = False
    """Whether the paper's official code has files of such prompts (`davsp.prompts.official`)."""
    surrounds: ClassVar[bool] = True
    """Whether the prompt lies around the image, and not on it."""

    @classmethod
    @abstractmethod
    def for_model(cls, model: CanvasModel, *, side: int | None, width: int | None, eps: float) -> Layout:
        """The layout that suits a model.

        side: of the square canvas in pixels (None: the model's own, or the paper's). width: of a border in pixels
        (None: `default_width`). eps: bound of an additive change. Raises InputError when they do not suit the model.
        """

    @classmethod
    @abstractmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Layout:
        """The layout of which `facts` says what is saved. Raises InputError when it does not fit together."""

    def facts(self) -> dict[str, Any]:
        """What is saved of the layout: mode, height and width of its prompt, and its own values."""
        height, width = self.size
        return {"mode": self.mode, "height": height, "width": width, **vars(self)}

    @property
    @abstractmethod
    def description(self) -> str:
        """A sentence or two for a saved prompt's card."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Height and width of the prompt in pixels."""

    @abstractmethod
    def mask(self) -> Bool[Tensor, "h w"]:
        """bool (H, W): where the prompt has pixels of its own to train."""

    @abstractmethod
    def interior(self, image: Image.Image) -> Image.Image:
        """The RGB image at the size at which it is composed with the prompt, resized in one pass if at all."""

    @abstractmethod
    def canvas_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the canvas of an interior of this height and width."""

    def fits(self, canvas: Canvas) -> bool:
        """Whether what it composes reaches a model with this canvas as it is."""
        return canvas.keeps(*self.size)

    def on_canvas(self, canvas: Canvas) -> Layout:  # noqa: ARG002 - for layouts without a size of their own
        """The layout that composes for a model with this canvas; the same where it has but one size."""
        return self

    @abstractmethod
    def compose(self, prompt: Float[Tensor, "3 h w"], interior: Pixels) -> Pixels:
        """The canvas that a model sees of each interior, float32 in [0, 1], differentiable in `prompt`."""

    @abstractmethod
    def renderer(self, prompt: Float[Tensor, "3 h w"]) -> Callable[[Image.Image], Image.Image]:
        """A function that puts the prompt on one RGB image of any size, and gives the canvas as an RGB image."""

    def start(self, colour: Float[Tensor, " 3"]) -> Float[Tensor, "3 h w"]:
        """The prompt before the first step of training: all of one colour."""
        prompt = colour[:, None, None].repeat(1, *self.size)
        self.project_(prompt)
        return prompt

    @torch.no_grad()
    def project_(self, prompt: Float[Tensor, "3 h w"], clamp: bool = True) -> None:
        """Move `prompt` to the nearest valid one, in place: nothing inside and, with `clamp`, pixels in [0, 1]."""
        prompt.mul_(on_device(self.mask(), prompt.device))
        if clamp:
            prompt.clamp_(0, 1)

    def picture(self, prompt: Float[Tensor, "3 h w"]) -> Image.Image:
        """The prompt as an RGB image for people."""
        return to_image(prompt)


@dataclass(frozen=True)
class BorderLayout(Layout):
    """The image shrunk into the middle of a canvas of height x width pixels, within a border of `border` pixels.

    Raises InputError when the border leaves less than a third of either side to the image.
    """

    mode = Mode.BORDER
    has_official_format = True

    height: int
    width: int
    border: int

    def __post_init__(self) -> None:
        if not 0 < 3 * self.border <= min(self.height, self.width):
            raise InputError(
                f"a border of {self.border} pixels does not suit a canvas of {self.height} x {self.width}: "
                f"choose a width from 1 to {min(self.height, self.width) // 3}."
            )

    @classmethod
    def for_model(cls, model: CanvasModel, *, side: int | None, width: int | None, eps: float) -> BorderLayout:  # noqa: ARG003
        height, across = square_canvas(model, side)
        return cls(height, across, width or default_width(min(height, across), model.grid))

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> BorderLayout:
        return cls(facts["height"], facts["width"], facts["border"])

    @property
    def description(self) -> str:
        return (
            f"A border of {self.border} pixels on a canvas of {self.height} x {self.width} pixels. "
            "The image is shrunk into the middle; nothing lies on it."
        )

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def inner(self) -> tuple[int, int]:
        """Height and width in pixels that the image is resized to."""
        return self.height - 2 * self.border, self.width - 2 * self.border

    def mask(self) -> Bool[Tensor, "h w"]:
        mask = torch.ones(self.height, self.width, dtype=torch.bool)
        mask[self.border : self.height - self.border, self.border : self.width - self.border] = False
        return mask

    def interior(self, image: Image.Image) -> Image.Image:
        """The RGB image resized in one pass to lie centred in `inner`, its sides filled up with white."""
        return resize_and_pad(image, *self.inner)

    def canvas_size(self, height: int, width: int) -> tuple[int, int]:  # noqa: ARG002 - the same for all
        return self.size

    def compose(self, prompt: Float[Tensor, "3 h w"], interior: Pixels) -> Float[Tensor, "b 3 h w"]:
        """The canvases (B, 3, H, W) of interiors (3, *inner), whose pixels stay exactly as they are (paper, section on
        the visual safety prompt)."""
        padded = F.pad(as_batch(interior), (self.border,) * 4)
        return torch.where(on_device(self.mask(), prompt.device), prompt, padded)

    def renderer(self, prompt: Float[Tensor, "3 h w"]) -> Callable[[Image.Image], Image.Image]:
        picture = to_image(prompt)

        def render(image: Image.Image) -> Image.Image:
            canvas = picture.copy()
            canvas.paste(self.interior(image), (self.border, self.border))
            return canvas

        return render


@dataclass(frozen=True)
class AdditiveLayout(Layout):
    """The image fills a canvas of height x width pixels, and a change of at most `eps` is added to every channel.

    `eps` is in pixel units. Raises InputError when it is not in (0, 1].
    """

    mode = Mode.ADDITIVE
    surrounds = False

    height: int
    width: int
    eps: float

    def __post_init__(self) -> None:
        if not 0 < self.eps <= 1:
            raise InputError(f"eps is {self.eps}: choose a bound in (0, 1], such as 32/255 = 0.1255.")

    @classmethod
    def for_model(cls, model: CanvasModel, *, side: int | None, width: int | None, eps: float) -> AdditiveLayout:  # noqa: ARG003
        return cls(*square_canvas(model, side), eps)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> AdditiveLayout:
        return cls(facts["height"], facts["width"], facts["eps"])

    @property
    def description(self) -> str:
        return (
            f"A change of at most {self.eps:.4f} a channel, added to an image of {self.height} x {self.width} pixels."
        )

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width

    def mask(self) -> Bool[Tensor, "h w"]:
        return torch.ones(self.height, self.width, dtype=torch.bool)

    def interior(self, image: Image.Image) -> Image.Image:
        """The RGB image resized in one pass to lie centred on the canvas, its sides filled up with white."""
        return resize_and_pad(image, *self.size)

    def canvas_size(self, height: int, width: int) -> tuple[int, int]:  # noqa: ARG002 - the same for all
        return self.size

    def compose(self, prompt: Float[Tensor, "3 h w"], interior: Pixels) -> Float[Tensor, "b 3 h w"]:
        """The changed images (B, 3, H, W), clamped to [0, 1]."""
        return (as_batch(interior) + prompt).clamp(0, 1)

    def renderer(self, prompt: Float[Tensor, "3 h w"]) -> Callable[[Image.Image], Image.Image]:
        return lambda image: to_image(self.compose(prompt, stack([self.interior(image)]))[0])

    def start(self, colour: Float[Tensor, " 3"]) -> Float[Tensor, "3 h w"]:
        """No change at all, whatever the colour."""
        return colour.new_zeros(3, *self.size)

    @torch.no_grad()
    def project_(self, prompt: Float[Tensor, "3 h w"], clamp: bool = True) -> None:  # noqa: ARG002 - always bounded
        """Move `prompt` to the nearest valid one, in place: a change in [-eps, eps]."""
        prompt.clamp_(-self.eps, self.eps)

    def picture(self, prompt: Float[Tensor, "3 h w"]) -> Image.Image:
        """0.5 + change / (2 eps)."""
        return to_image(0.5 + prompt / (2 * self.eps))


def default_width(side: int, patch: int) -> int:
    """The multiple of the patch nearest to the paper's share of the canvas side, at least one patch."""
    return max(1, round(side * PAPER_SHARE / patch)) * patch


def square_canvas(model: CanvasModel, side: int | None) -> tuple[int, int]:
    """The size at which a model sees a square image, of that side in pixels or of its own choice (None)."""
    return model.canvas.square if side is None else model.canvas.choose(side, side)
