"""Greedy coordinate gradient (Zou et al. 2023) on the question: a text after it, behind border and prefix."""

from __future__ import annotations

import numpy as np
from pydantic import Field
from torch import Tensor

from davsp.attacks.pipeline import Case, Pipeline, Stage
from davsp.attacks.suffix import Found, SuffixAttack, SuffixOptions, followed
from davsp.data.conversation import one_turn
from davsp.searches.gcg import Case as SearchCase
from davsp.searches.gcg import TokenSearch
from davsp.util.options import Positive


class GcgOptions(SuffixOptions):
    """How tokens are proposed."""

    top_k: Positive = Field(64, description="Tokens that the gradient proposes for each position of the text.")


class Gcg(SuffixAttack):
    """A text after the question, found by greedy coordinate gradient."""

    kind = "gcg"
    about = (
        "Adds tokens after the question, found by greedy coordinate gradient. Before a gate, the answers on both sides "
        "of it are searched for; its threshold has no part in the gradient."
    )
    Options = GcgOptions

    options: GcgOptions

    def search(self, case: Case, image: Tensor, rng: np.random.Generator) -> Found:
        options = self.options
        tokens = TokenSearch(self.model, top_k=options.top_k, candidates=options.candidates, chunk=options.chunk)
        wanted = [self._case(p, stage, case, image) for p in self.knowledge.pipelines for stage in p.stages]
        ids = tokens.start(options.length, wanted, rng)
        best, lowest, each = ids, float("inf"), options.candidates + 1
        for step in range(1, options.steps + 1):
            ids, _ = tokens.step(ids, wanted, rng)
            (loss,), (broken,) = self.losses(case, image, [tokens.text(ids)])
            if loss < lowest or broken:
                best, lowest = ids, loss
            if broken:
                return Found(tokens.text(best), lowest, step, step * each, True)
        return Found(tokens.text(best), lowest, options.steps, options.steps * each, False)

    @staticmethod
    def _case(pipeline: Pipeline, stage: Stage, case: Case, image: Tensor) -> SearchCase:
        return SearchCase(
            pipeline.view(stage, image)[None],
            lambda text: one_turn(stage.rewrite(followed(case.query, text)), [b""]),
            case.answer,
        )
