"""What is fitted and rewrites queries: a text before or after the question, a bounded change of the image, or both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from davsp.data.query import Query
from davsp.defences import fitted as saved
from davsp.defences import stored
from davsp.defences.prompted import PromptDefence
from davsp.defences.stored_visual import VisualFacts, read_visual
from davsp.models.base import VisionLanguageModel
from davsp.prompts.visual import VisualPrompt


class GuardFacts(saved.FittedFacts):
    """A guard's texts, and how its change lies on images; `visual` is None where it leaves images alone."""

    prefix: str = ""
    suffix: str = ""
    visual: VisualFacts | None = None


@dataclass(frozen=True, kw_only=True)
class Guard(PromptDefence):
    """`prefix` before the question, `suffix` after it, `visual` on the image; any of them may be missing."""

    suffix: str = ""
    facts: GuardFacts
    about: str
    """What it is, for its card."""

    @classmethod
    def of(cls, facts: GuardFacts, visual: VisualPrompt | None, about: str) -> Guard:
        """The guard that the facts describe."""
        facts = facts.model_copy(update={"visual": VisualFacts.of(visual.layout) if visual else None})
        return cls(name=facts.name, visual=visual, prefix=facts.prefix, suffix=facts.suffix, facts=facts, about=about)

    def defend(self, query: Query) -> Query:
        found = super().defend(query)
        return replace(found, question=f"{found.question}\n{self.suffix}") if self.suffix else found

    def check(self, model: VisionLanguageModel) -> None:
        """Raise ArtefactError when it was fitted for another model than `model`."""
        self.facts.check(model)

    def save(self, folder: Path) -> None:
        """Write it to a folder. Raises StorageError when that cannot be written."""
        tensors = {"prompt": self.visual.pixels} if self.visual else {}
        saved.save(folder, self.facts, tensors, self.about)

    @classmethod
    def load(cls, folder: Path, about: str) -> Guard:
        """Read what `save` wrote. Raises ArtefactError when it is missing or damaged."""
        facts, tensors = stored.load(folder, GuardFacts)
        visual = read_visual(folder, facts.visual, tensors) if facts.visual else None
        return cls.of(facts, visual, about)
