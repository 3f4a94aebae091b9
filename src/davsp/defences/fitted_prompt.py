"""A fitted defence that rewrites queries: a text before or after the question, a bounded change of the image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel

from davsp.defences import fitted
from davsp.defences.prompted import PromptDefence
from davsp.defences.stored import BaseModelFacts
from davsp.defences.stored_visual import VisualFacts, read_visual
from davsp.models.base import VisionLanguageModel
from davsp.prompts.visual import VisualPrompt


class FittedPromptFacts(fitted.FittedFacts):
    """Its texts, and how its change lies on images; `visual` is None where it leaves images alone."""

    prefix: str = ""
    suffix: str = ""
    visual: VisualFacts | None = None


class FittedPrompt(PromptDefence):
    """`prefix` before the question, `suffix` after it, `visual` on the image: what a subclass's `fit` leaves."""

    about: ClassVar[str]
    """What it is, for its card."""
    model_specific = True

    def __init__(self, facts: FittedPromptFacts, visual: VisualPrompt | None) -> None:
        self.facts, self.visual = facts, visual
        self.name, self.prefix, self.suffix = facts.name, facts.prefix, facts.suffix
        self.base_model = facts.base_model

    def check(self, model: VisionLanguageModel) -> None:
        """Raise ArtefactError when it was fitted for another model than `model`, or for other sizes of images."""
        self.facts.check(model)
        self.check_canvas(model.canvas, model.name)

    @classmethod
    def save_fitted(
        cls,
        folder: Path,
        model: VisionLanguageModel,
        options: BaseModel,
        *,
        name: str | None = None,
        visual: VisualPrompt | None = None,
        prefix: str = "",
        suffix: str = "",
        data: Mapping[str, str],
        metrics: Mapping[str, float | None],
    ) -> Self:
        """Save what was fitted to `model` with `options`, by default under the folder's name, and return it.

        `data`: SHA-256 of what it was fitted to; `metrics`: what was measured last. Raises StorageError when the
        folder cannot be written.
        """
        facts = FittedPromptFacts(
            kind=cls.kind,
            name=name or folder.resolve().name,
            base_model=BaseModelFacts.of(model),
            config=options.model_dump(mode="json"),
            data=dict(data),
            metrics={metric: value for metric, value in metrics.items() if value is not None},
            prefix=prefix,
            suffix=suffix,
            visual=VisualFacts.of(visual.layout) if visual else None,
        )
        fitted.save(folder, facts, {"prompt": visual.pixels} if visual else {}, cls.about)
        return cls(facts, visual)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save_fitted` wrote. Raises ArtefactError when it is missing or damaged, or of another kind."""
        facts, tensors = fitted.load(folder, FittedPromptFacts, cls.kind)
        return cls(facts, read_visual(folder, facts.visual, tensors) if facts.visual else None)
