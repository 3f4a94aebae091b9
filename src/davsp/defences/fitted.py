"""A fitted baseline, as it is saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from torch import Tensor

from davsp.defences import stored
from davsp.errors import ArtefactError
from davsp.models.base import VisionLanguageModel


class FittedFacts(stored.Facts):
    """What every fitted baseline says of itself."""

    kind: str
    """Which baseline it is: a key of `davsp.defences.FITTED`."""
    config: dict[str, Any]
    data: dict[str, str]
    """SHA-256 of what it was fitted to, by name."""
    metrics: dict[str, float]

    def check(self, model: VisionLanguageModel) -> None:
        """Raise ArtefactError when it was fitted for another model than `model`."""
        if found := self.base_model.differences(model):
            raise ArtefactError(
                f"{self.name} was fitted for {self.base_model.name} and not for {model.name}:\n"
                + "\n".join(f"  {line}" for line in found)
                + "\nFit one for this model with `davsp fit`."
            )


def save(folder: Path, facts: FittedFacts, tensors: Mapping[str, Tensor], about: str) -> None:
    """Write the folder. `about`: the card's first lines. Raises StorageError when the folder cannot be written."""
    card = Environment(loader=PackageLoader("davsp.defences"), autoescape=False).get_template("baseline_card.md.j2")  # noqa: S701 - Markdown
    stored.save(folder, facts, tensors, card.render(facts=facts, about=about))
