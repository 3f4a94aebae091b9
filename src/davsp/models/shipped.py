"""The testbed models that come with the package."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path


@dataclass(frozen=True)
class Shipped:
    """A checkpoint's folder, and the side in pixels of the images that the testbed draws for it."""

    folder: Path
    image_side: int


_CHECKPOINTS = Path(str(files("davsp") / "testbed" / "checkpoints"))
SHIPPED = {
    "testbed": Shipped(_CHECKPOINTS / "llava", 224),
    "testbed-qwen2vl": Shipped(_CHECKPOINTS / "qwen2vl", 112),
}
"""By the name that `load_model` knows them by."""
