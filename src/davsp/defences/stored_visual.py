"""How a visual prompt stands in a saved defence."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import BaseModel, field_validator
from torch import Tensor

from davsp.defences.stored import CONFIG, WEIGHTS
from davsp.errors import ArtefactError, InputError
from davsp.imaging.canvas import FixedCanvas, GridCanvas, TiledCanvas
from davsp.prompts.layouts import Layout, Mode
from davsp.prompts.registry import LAYOUTS
from davsp.prompts.visual import VisualPrompt


class VisualFacts(BaseModel):
    """The layout of a visual prompt."""

    mode: Mode
    height: int
    width: int
    border: int = 0
    eps: float = 0.0
    edge: int = 0
    canvas: FixedCanvas | GridCanvas | TiledCanvas | None = None

    @field_validator("canvas")
    @classmethod
    def _is_sound(cls, canvas: FixedCanvas | GridCanvas | TiledCanvas | None) -> Any:
        sizes = canvas.sizes if isinstance(canvas, TiledCanvas) else ((1, 1),)
        sides = [side for side in vars(canvas).values() if isinstance(side, int)] if canvas else []
        bounded = not isinstance(canvas, GridCanvas) or canvas.min_pixels <= canvas.max_pixels
        if not sizes or not bounded or min([*sides, *chain(*sizes)]) < 1:
            raise ValueError("the canvas has no sizes")
        return canvas

    @classmethod
    def of(cls, layout: Layout) -> VisualFacts:
        return cls(**layout.facts())

    def layout(self) -> Layout:
        """Raises InputError when the facts do not fit together."""
        return LAYOUTS[self.mode].from_facts(dict(self))


def read_visual(folder: Path, facts: VisualFacts, tensors: dict[str, Tensor]) -> VisualPrompt:
    """The visual prompt of a saved folder. Raises ArtefactError when its pixels are missing or do not fit."""
    try:
        layout = facts.layout()
    except InputError as error:
        raise ArtefactError(f"{folder / CONFIG} is damaged: {error}") from error
    expected = (3, *layout.size)
    shape = tuple(tensors["prompt"].shape) if "prompt" in tensors else None
    if shape != expected:
        raise ArtefactError(
            f"{folder / WEIGHTS} does not fit {CONFIG}: expected a tensor 'prompt' of shape {expected}, found {shape}."
        )
    return VisualPrompt(layout, tensors["prompt"].float())
