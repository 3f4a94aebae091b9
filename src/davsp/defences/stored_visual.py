"""How a visual prompt stands in a saved defence."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel
from torch import Tensor

from davsp.defences.stored import CONFIG, WEIGHTS, SavedCanvas
from davsp.errors import ArtefactError, InputError
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
    canvas: SavedCanvas | None = None

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
