"""What answers to benign queries may change at most, held by Lagrange multipliers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from davsp.training.config import TrainConfig

RATE = 0.2
"""How fast a multiplier moves: by a fifth a step, where its bound is exceeded by as much as itself or more."""
LIMITS = (1e-3, 1e3)
"""Of multipliers."""
BENIGN, LOOKALIKES = "benign", "harmless"
"""Classes of benign queries, as their figures are named: those that look harmless, and those that look harmful."""


@dataclass
class Multiplier:
    """The weight of a divergence, which rises while it is above its bound and falls while it is below.

    Dual ascent on the Lagrangian, loss + value * (divergence / bound - 1), by exponentiated gradient (Kivinen and
    Warmuth, 1997). The constraint is in shares of the bound, so that one start and one rate serve every bound. Without
    a bound it is loss + value * divergence, and the value stays what it is.
    """

    bound: float | None
    value: float

    @property
    def weight(self) -> float:
        """What the divergence is multiplied by."""
        return self.value / (self.bound or 1.0)

    def ascend(self, divergence: float) -> None:
        """Move it by the divergence of a step, in nats a token."""
        if self.bound is not None:
            excess = max(-1.0, min(1.0, divergence / self.bound - 1))
            self.value = max(LIMITS[0], min(LIMITS[1], self.value * math.exp(RATE * excess)))


def multipliers_of(config: TrainConfig) -> dict[str, Multiplier]:
    """A multiplier for each class, which begins at `answer_weight`."""
    bounds = {BENIGN: config.keep, LOOKALIKES: config.keep_lookalikes or config.keep}
    return {name: Multiplier(bound, config.answer_weight) for name, bound in bounds.items()}


def excess(multipliers: Mapping[str, Multiplier], divergences: Mapping[str, float]) -> float:
    """By what share of its bound a divergence is above it, the largest of all; 0 where none is."""
    return max(
        (divergences[name] / m.bound - 1 for name, m in multipliers.items() if m.bound and name in divergences),
        default=0.0,
    )
