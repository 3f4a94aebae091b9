"""UniGuard: one bounded change of every image that makes harmful sentences unlikely, and a safety text.

What differs from the paper: the change is fitted on the images of the queries that are given, in turn.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field

from davsp.data.conversation import one_turn
from davsp.defences.base import FittingData
from davsp.defences.corpus import HARMFUL_SENTENCES
from davsp.defences.fitted_prompt import FittedPrompt
from davsp.imaging.opening import open_image
from davsp.imaging.pixels import from_bytes
from davsp.models.base import VisionLanguageModel
from davsp.searches.gcg import Case, Ids, Length, TokenSearch
from davsp.searches.signed_steps import ChangeFitting, ChangeOptions
from davsp.training import loop
from davsp.training.batches import Shuffle
from davsp.training.loop import Fitting
from davsp.training.run_state import Record
from davsp.util.options import Positive

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

    text: Text = Field(
        Text.FIXED,
        description="The safety text: fixed, a sentence after the question; optimised, tokens before it; or none.",
    )
    text_length: Length = Field(16, description="Tokens of an optimised text.")
    text_steps: Positive = Field(100, description="Steps of the search for an optimised text.")
    top_k: Positive = Field(256, description="Tokens that the gradient proposes for each position of the text.")
    candidates: Positive = Field(256, description="Changed texts that are tried in a step.")
    chunk: Positive = Field(64, description="Candidates that run at a time.")


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
        pixels = change.layout.compose(change.change, inside)
        return [Case(pixels, lambda text: one_turn(f"{text}\n", [b""]), change.sentences[sentence], -1.0)]

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


class UniGuard(FittedPrompt):
    """A bounded change of every image, and a safety text."""

    kind = "uniguard"
    about = (
        "UniGuard: a bounded change added to every image, which makes harmful sentences unlikely, and a safety text."
    )
    FitOptions = UniGuardOptions
    fits_queries = True
    fits_corpus = HARMFUL_SENTENCES

    @classmethod
    def fit(
        cls,
        model: VisionLanguageModel,
        options: UniGuardOptions,
        data: FittingData,
        folder: Path,
        *,
        quiet: bool = False,
    ) -> Self:
        """Fit change and text, going on from the states in `folder`, and save both there under the folder's name.

        The change is fitted to the corpus on the images of the training queries. Raises what `ChangeFitting` and
        `loop.run` raise.
        """
        images = [open_image(image, what=query.id) for query in data.training for image in query.images]
        change = ChangeFitting(model, options, data.corpus, images, raising=True)
        title = f"Fitting {folder.name}"
        metrics = loop.run(change, folder, title=title, quiet=quiet)
        prefix = ""
        if options.text is Text.OPTIMISED:
            text = TextFitting(change, options)
            measured = loop.run(text, folder / "text", title=f"{title}'s text", save_every=5, quiet=quiet)
            metrics |= {f"text_{metric}": value for metric, value in measured.items()}
            prefix = text.search.text(text.text)
        return cls.save_fitted(
            folder,
            model,
            options,
            visual=change.visual(),
            prefix=prefix,
            suffix=SENTENCE if options.text is Text.FIXED else "",
            data=change.digests(),
            metrics=metrics,
        )
