"""What every defence has that `davsp fit` makes: the facts in its config.json, and its card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, PackageLoader
from torch import Tensor

from davsp.defences import stored
from davsp.errors import ArtefactError
from davsp.models.base import VisionLanguageModel


class FittedFacts(stored.Facts):
    """What a fitted defence says of itself."""

    kind: str
    config: dict[str, Any]
    data: dict[str, str]
    """SHA-256 of what it was fitted to, by name."""
    metrics: dict[str, float]

    def check(self, model: VisionLanguageModel) -> None:
        """Raise ArtefactError when it was fitted for another model than `model`."""
        if differences := self.base_model.differences(model):
            raise ArtefactError(
                f"{self.name} was fitted for {self.base_model.name} and not for {model.name}:\n"
                + "\n".join(f"  {line}" for line in differences)
                + "\nFit one for this model with `davsp fit`."
            )


AnyFittedFacts = TypeVar("AnyFittedFacts", bound=FittedFacts)


def save(folder: Path, facts: FittedFacts, tensors: Mapping[str, Tensor], about: str) -> None:
    """Write the folder. `about`: the card's first lines. Raises StorageError when the folder cannot be written."""
    card = Environment(loader=PackageLoader("davsp.defences"), autoescape=False).get_template("baseline_card.md.j2")  # noqa: S701 - Markdown
    stored.save(folder, facts, tensors, card.render(facts=facts, about=about))


def load(folder: Path, schema: type[AnyFittedFacts], kind: str) -> tuple[AnyFittedFacts, dict[str, Tensor]]:
    """Read what `save` wrote. Raises ArtefactError when it is missing or damaged, or holds another kind."""
    facts, tensors = stored.load(folder, schema)
    if facts.kind != kind:
        raise ArtefactError(f"{folder} holds a defence of kind {facts.kind}, and not {kind}.")
    return facts, tensors
