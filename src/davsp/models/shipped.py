"""The testbed models, which come with the package or are fetched into the user's cache by a command."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from platformdirs import user_cache_path

from davsp.errors import ModelError

CACHE = "DAVSP_CACHE"
"""Variable of the environment that names the folder of what is fetched, in place of the platform's own."""
SMOL = "testbed-smol"
DEFENCE = "defence"
"""The folder, in that of a testbed model, of the defence that comes with it."""


@dataclass(frozen=True)
class Shipped:
    """A testbed model.

    `image_side`: side in pixels of the images that the testbed draws for it; 0 where it knows nothing of the testbed's
    world. `fetched_by`: the command that puts it into the cache, for one that the package does not hold. `version`: of
    such a one, which its folder is named after.
    """

    name: str
    image_side: int
    held: str = ""
    fetched_by: str = ""
    version: str = ""

    @property
    def place(self) -> Path:
        """Where its checkpoint is, or will be."""
        if self.fetched_by:
            return cache_folder() / f"{self.name}-{self.version}"
        return Path(str(files("davsp") / "testbed" / "checkpoints" / self.held))

    @property
    def folder(self) -> Path:
        """Its checkpoint's folder. Raises ModelError where it must be fetched first."""
        if not self.place.is_dir():
            raise ModelError(f"{self.name} is not there yet ({self.place}). Run: {self.fetched_by}")
        return self.place

    @property
    def defence(self) -> Path:
        """The folder of the defence that comes with it. Raises ModelError where there is none."""
        if not (self.folder / DEFENCE).is_dir():
            again = (
                f" What is in {self.place} is older: delete it, and run {self.fetched_by}." if self.fetched_by else ""
            )
            raise ModelError(f"no defence comes with {self.name}: train one with davsp train.{again}")
        return self.folder / DEFENCE


def cache_folder() -> Path:
    """The folder of what is fetched: $DAVSP_CACHE, or davsp's folder in the user's cache."""
    named = os.environ.get(CACHE)
    return Path(named).expanduser() if named else user_cache_path("davsp")


SHIPPED = {
    model.name: model
    for model in (
        Shipped("testbed", 224, held="llava"),
        Shipped("testbed-qwen2vl", 112, held="qwen2vl"),
        Shipped(SMOL, 0, fetched_by="davsp testbed fetch smol", version="1"),
    )
}
"""By the name that `load_model` knows them by."""
OF_THE_WORLD = tuple(name for name, model in SHIPPED.items() if model.image_side)
"""The names of those that were trained in the testbed's world."""
