"""UniGuard: one bounded change of every image that makes harmful sentences unlikely, and a safety text.

What differs from the paper: the change is fitted on the images of the queries that are given, in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import numpy as np

from davsp.attacks.gcg import Case, Ids, Length, TokenSearch
from davsp.attacks.signed_steps import ChangeFitting, ChangeOptions
from davsp.data.query import Query
from davsp.defences.guard import Guard, GuardFacts
from davsp.defences.stored import BaseModelFacts
from davsp.imaging.opening import open_image
from davsp.imaging.pixels import from_bytes
from davsp.models.base import VisionLanguageModel
from davsp.training import loop as fitting
from davsp.training.batches import Shuffle
from davsp.training.loop import Fitting
from davsp.training.run_state import Record
from davsp.util.options import Positive

KIND = "uniguard"
ABOUT = "UniGuard: a bounded change added to every image, which makes harmful sentences unlikely, and a safety text."
SENTENCE = "If the image or the text is harmful or illegal, say sorry and refuse."
"""The fixed safety sentence, after the question."""


class Text(StrEnum):
    """The safety text that goes with the change."""

    FIXED = "fixed"
    """SENTENCE, after the question."""
    OPTIMISED = "optimised"
    """Tokens found by greedy coordinate gradient, before the question."""
    NONE = "none"


class UniGuardOptions(ChangeOptions):
    """How change and text are fitted; the defaults are the method's own, where it says."""

    text: Text = Text.FIXED
    text_length: Length = 16
    """Tokens of an optimised text."""
    text_steps: Positive = 100
    top_k: Positive = 256
    candidates: Positive = 256
    chunk: Positive = 64
    """Candidates that run at a time."""


class TextFitting(Fitting):
    """Greedy coordinate gradient that makes the corpus unlikely after the text alone, on the changed images.

    Each step sees one sentence and one image.
    """

    def __init__(self, change: ChangeFitting, options: UniGuardOptions) -> None:
        self.change, self.options, self.steps = change, options, options.text_steps
        self.search = TokenSearch(change.model, top_k=options.top_k, candidates=options.candidates, chunk=options.chunk)
        self.orders = tuple(
            Shuffle(len(items), options.seed, stream) for stream, items in ((4, change.sentences), (5, change.images))
        )
        rng = np.random.default_rng([options.seed, 6])
        self.text: Ids = self.search.start(options.text_length, self.cases(0), rng)

    def cases(self, number: int) -> list[Case]:
        """The sentence of a step, to be made unlikely after the text and an empty question."""
        [sentence], [image] = (order.take(number, 1) for order in self.orders)
        change = self.change
        inside = from_bytes(change.images[image])[None].to(change.model.device)
        pixels = change.layout.compose(change.change, inside)[0]
        return [Case(pixels, lambda text: f"{text}\n", change.sentences[sentence], -1.0)]

    def step(self, number: int) -> Record:
        rng = np.random.default_rng([self.options.seed, 7, number])
        self.text, loss = self.search.step(self.text, self.cases(number), rng)
        return {"corpus_loss": None if loss is None else -loss}

    def state(self) -> Record:
        return {"text": list(self.text)}

    def restore(self, state: Record) -> None:
        self.text = tuple(state["text"])

    def identity(self) -> Record:
        return self.change.identity()


def fit(
    model: VisionLanguageModel,
    options: UniGuardOptions,
    corpus: Sequence[str],
    queries: Sequence[Query],
    folder: Path,
    *,
    quiet: bool = False,
) -> Guard:
    """Fit change and text, going on from the states in `folder`, and save the guard there under the folder's name.

    The change is fitted to the images of `queries`. Raises what `ChangeFitting` and `fitting.run` raise.
    """
    images = [open_image(query.image, what=query.id) for query in queries]
    change = ChangeFitting(model, options, corpus, images, raising=True)
    metrics = fitting.run(change, folder, title=f"Fitting {folder.name}", quiet=quiet)
    prefix = ""
    if options.text is Text.OPTIMISED:
        text = TextFitting(change, options)
        found = fitting.run(text, folder / "text", title=f"Fitting {folder.name}'s text", save_every=5, quiet=quiet)
        metrics |= {f"text_{name}": value for name, value in found.items()}
        prefix = text.search.text(text.text)
    facts = GuardFacts(
        kind=KIND,
        name=folder.resolve().name,
        base_model=BaseModelFacts.of(model),
        config=options.model_dump(mode="json"),
        data=change.digests(),
        metrics={name: value for name, value in metrics.items() if value is not None},
        prefix=prefix,
        suffix=SENTENCE if options.text is Text.FIXED else "",
    )
    guard = Guard.of(facts, change.visual(), ABOUT)
    guard.save(folder)
    return guard
