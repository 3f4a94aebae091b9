"""PAT: a text before the question, found by alternating with an attack after it (greedy coordinate gradient)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from davsp.data.conversation import with_text_after
from davsp.data.digests import digest
from davsp.data.query import Query
from davsp.data.references import as_answer
from davsp.defences.base import FittingData
from davsp.defences.fitted_prompt import FittedPrompt
from davsp.errors import InputError
from davsp.models.base import VisionLanguageModel
from davsp.searches.gcg import Case, Ids, Length, TokenSearch
from davsp.training import loop
from davsp.training.batches import REFUSAL, Shuffle
from davsp.training.loop import Fitting
from davsp.training.run_state import Record
from davsp.util.options import Count, Positive, Weight


class PatOptions(BaseModel):
    """How the text is searched; the defaults are the method's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    length: Length = Field(15, description="Tokens of the text before the question.")
    attack_length: Length = Field(15, description="Tokens of the attack after the question.")
    steps: Positive = Field(100, description="Steps of attack and text in turns.")
    top_k: Positive = Field(256, description="Tokens that the gradient proposes for each position.")
    candidates: Positive = Field(256, description="Changed texts that are tried in a step.")
    chunk: Positive = Field(64, description="Candidates that run at a time.")
    refusal_weight: Weight = Field(0.8, description="Weight of refusing the attacked malicious query.")
    benign_weight: Weight = Field(0.2, description="Weight of answering the benign query.")
    affirmative: str = Field(
        "Sure, here is how to do it.",
        description="What the attack wants of a malicious query that brings no forbidden answer of its own.",
    )
    seed: Count = Field(0, description="Of the search, and of the order of queries.")


class PatFitting(Fitting):
    """Each step sees one malicious and one benign query: first the attack moves, then the defence.

    Raises InputError without malicious queries, or without benign ones that have an answer.
    """

    def __init__(self, model: VisionLanguageModel, options: PatOptions, queries: Sequence[Query]) -> None:
        self.model, self.options, self.steps = model, options, options.steps
        self.malicious = [q for q in queries if q.malicious]
        self.benign = [q for q in queries if not q.malicious and q.answer]
        if not self.malicious or not self.benign:
            raise InputError("PAT is fitted to malicious queries, and to benign ones with answers: give both.")
        self.search = TokenSearch(model, top_k=options.top_k, candidates=options.candidates, chunk=options.chunk)
        self.orders = (Shuffle(len(self.malicious), options.seed, 0), Shuffle(len(self.benign), options.seed, 1))
        rng = np.random.default_rng([options.seed, 2])
        self.attack: Ids = ()
        harmful, benign = self.malicious[0], self.benign[0]
        probes = [self._defence_case(harmful, REFUSAL, 1.0), self._defence_case(benign, REFUSAL, 1.0)]
        self.defence = self.search.start(options.length, probes, rng)
        self.attack = self.search.start(options.attack_length, [self._attack_case(harmful)], rng)

    def step(self, number: int) -> Record:
        rng = np.random.default_rng([self.options.seed, 3, number])
        [harmful], [benign] = (order.take(number, 1) for order in self.orders)
        malicious, harmless = self.malicious[harmful], self.benign[benign]
        record: Record = {}
        self.attack, record["attack_loss"] = self.search.step(self.attack, [self._attack_case(malicious)], rng)
        self.defence, record["defence_loss"] = self.search.step(
            self.defence, self.defence_cases(malicious, harmless), rng
        )
        return record

    def defence_cases(self, malicious: Query, harmless: Query) -> list[Case]:
        """What the defence wants: a refusal of the attacked query, and the answer to the benign one."""
        return [
            self._defence_case(malicious, as_answer(malicious.answer or REFUSAL), self.options.refusal_weight),
            self._defence_case(harmless, as_answer(harmless.answer or ""), self.options.benign_weight),
        ]

    def _defence_case(self, query: Query, answer: str, weight: float) -> Case:
        asked = _attacked(query, self.search.text(self.attack)) if query.malicious and self.attack else query
        return Case(
            self.model.canvas_pixels([query]),
            lambda text: asked.with_prefix(text).messages,
            self.model.answer_ids(answer),
            weight,
        )

    def _attack_case(self, query: Query) -> Case:
        """What the attack wants, behind the defence: the forbidden answer, or an affirmative one."""
        prefix = self.search.text(self.defence)
        wanted = query.metadata.get("forbidden") or self.options.affirmative
        return Case(
            self.model.canvas_pixels([query]),
            lambda text: _attacked(query, text).with_prefix(prefix).messages,
            self.model.answer_ids(wanted)[:-1],
        )

    def state(self) -> Record:
        return {"defence": list(self.defence), "attack": list(self.attack)}

    def restore(self, state: Record) -> None:
        self.defence, self.attack = tuple(state["defence"]), tuple(state["attack"])

    def identity(self) -> Record:
        return {
            "config": self.options.model_dump(mode="json"),
            "model": self.model.name,
            "weights": self.model.weights,
            "data": self.digests(),
        }

    def digests(self) -> dict[str, str]:
        """SHA-256 of the queries it is fitted to."""
        return {"malicious": digest(self.malicious), "benign": digest(self.benign)}


def _attacked(query: Query, attack: str) -> Query:
    """The query with an attack after its question."""
    return query.saying(with_text_after(query.messages, attack, " "))


class Pat(FittedPrompt):
    """A text before every question."""

    kind = "pat"
    about = (
        "PAT: a text before every question, found by greedy coordinate gradient in turns with an attack after the "
        "question."
    )
    FitOptions = PatOptions
    fits_queries = True

    @classmethod
    def fit(
        cls,
        model: VisionLanguageModel,
        options: PatOptions,
        data: FittingData,
        folder: Path,
        *,
        quiet: bool = False,
    ) -> Self:
        """Find the text, going on from the state in `folder`, and save it there under the folder's name.

        Raises what `PatFitting` and `loop.run` raise.
        """
        fitting = PatFitting(model, options, data.training)
        metrics = loop.run(fitting, folder, title=f"Fitting {folder.name}", save_every=5, quiet=quiet)
        return cls.save_fitted(
            folder,
            model,
            options,
            prefix=fitting.search.text(fitting.defence),
            data=fitting.digests(),
            metrics=metrics,
        )
