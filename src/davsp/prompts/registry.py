"""The layouts by their modes. Whatever differs between them is a method of theirs: nothing else asks for a mode."""

from __future__ import annotations

from collections.abc import Mapping

from davsp.imaging.canvas import Canvas
from davsp.prompts.frame import FrameLayout
from davsp.prompts.layouts import AdditiveLayout, BorderLayout, Layout, Mode

LAYOUTS: Mapping[Mode, type[Layout]] = {kind.mode: kind for kind in (BorderLayout, FrameLayout, AdditiveLayout)}


def default_mode(canvas: Canvas) -> Mode:
    """A frame for models that take images of any size, a border on their square canvas for the others."""
    return Mode.FRAME if canvas.any_size else Mode.BORDER
