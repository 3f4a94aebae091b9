"""Random search on the question (Andriushchenko et al. 2024): a text after it, by the model's scores alone."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from davsp.attacks.pipeline import Case
from davsp.attacks.suffix import Found, SuffixAttack
from davsp.searches.gcg import TokenSearch


class RandomSearch(SuffixAttack):
    """A text after the question, of which one token at a time is changed at random, and kept where the loss falls."""

    kind = "random-search"
    about = (
        "Adds tokens after the question, found by random search: it reads the scores of the wanted answer and, before "
        "a gate, the projection, but no gradient."
    )

    def search(self, case: Case, image: Tensor, rng: np.random.Generator) -> Found:
        options = self.options
        allowed = TokenSearch(self.model, top_k=1, candidates=1, chunk=1).allowed.tolist()
        decode = self.model.tokenizer.decode
        text = list(rng.choice(allowed, options.length))
        best, lowest = text, float("inf")
        for step in range(1, options.steps + 1):
            candidates = []
            for _ in range(options.candidates):
                candidate = list(best)
                candidate[int(rng.integers(options.length))] = int(rng.choice(allowed))
                candidates.append(candidate)
            losses, broken = self.losses(case, image, [str(decode(candidate)) for candidate in candidates])
            first = broken.index(True) if any(broken) else int(np.argmin(losses))
            if losses[first] < lowest or broken[first]:
                best, lowest = candidates[first], losses[first]
            if broken[first]:
                return Found(str(decode(best)), lowest, step, step * options.candidates, True)
        return Found(str(decode(best)), lowest, options.steps, options.steps * options.candidates, False)
