"""What attacks on the question share: a text after it, which is searched for."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from davsp.attacks.base import Attack, Attacked, SearchOptions
from davsp.attacks.pipeline import Case, joint, start_of
from davsp.attacks.wanted import cases_of
from davsp.data.query import Query
from davsp.searches.gcg import Length
from davsp.util.batching import batched
from davsp.util.options import Positive


class SuffixOptions(SearchOptions):
    """How the text is searched for."""

    length: Length = Field(12, description="Tokens of the text after the question.")
    steps: Positive = Field(50, description="Steps of the search.")
    candidates: Positive = Field(64, description="Changed texts that are tried in a step.")
    chunk: Positive = Field(64, description="Candidates that run at a time.")


class Found(NamedTuple):
    """A text, its loss, the steps that found it, the calls of each stage of a pipeline, and whether all gave in."""

    text: str
    loss: float
    steps: int
    calls: int
    broken: bool


class SuffixAttack(Attack):
    """A text after the question, query by query, until all that it is run against give in."""

    Options = SuffixOptions
    traces = True
    reads_model = True

    options: SuffixOptions

    def attack(self, queries: Sequence[Query]) -> list[Attacked]:
        cases = cases_of(self.model, queries, self.options)
        return [self._one(case, start_of(self.model, case.query)) for case in cases]

    def _one(self, case: Case, image: Tensor) -> Attacked:
        passes = sum(len(pipeline.stages) for pipeline in self.knowledge.pipelines)
        (before,), (complies,) = self.losses(case, image, [""])
        if complies:
            return Attacked((case.query,), 0, passes, 0)
        seed = hashlib.sha256(f"{self.seed} {case.query.id}".encode()).digest()
        found = self.search(case, image, np.random.default_rng(list(seed)))
        better = found.broken or found.loss < before
        rewritten = followed(case.query, found.text) if better else case.query
        return Attacked((rewritten,), found.steps, (1 + found.calls) * passes, found.steps if found.broken else None)

    @abstractmethod
    def search(self, case: Case, image: Tensor, rng: np.random.Generator) -> Found:
        """A text after the question of `case`, beside an image (3, H, W)."""

    @torch.inference_mode()
    def losses(self, case: Case, image: Tensor, suffixes: Sequence[str]) -> tuple[list[float], list[bool]]:
        """The joint losses of the question followed by each text, and which of them are broken."""
        losses, broken = list[float](), list[bool]()
        for chunk in batched(suffixes, self.options.chunk):
            asked = [Case(followed(case.query, suffix), case.answer) for suffix in chunk]
            found = joint(self.knowledge.pipelines, [image] * len(chunk), asked)
            losses += found.losses.tolist()
            broken += found.broken.tolist()
        return losses, broken


def followed(query: Query, text: str) -> Query:
    """The query with a text after its question."""
    return query.with_question(f"{query.question} {text}") if text else query
