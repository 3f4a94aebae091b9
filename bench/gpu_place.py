"""What the rows of one part of the GPU's bench share: a model, and what it is compared with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from bench.measuring import Row, finish
from bench.training import Bench, prepare
from davsp.errors import DavspError

PEAK_FLOPS = {"A100": 312e12, "H100": 989e12, "H200": 989e12}
"""Dense bfloat16 operations a second, as the makers state them."""


class NotMeasured(DavspError):  # noqa: N818 - a reason as much as an error
    """A row cannot be measured on this machine; the message says why."""


@dataclass
class Place:
    """A process that measures the rows of one part, one after the other.

    `size` is how its rows are called; `tiny` says that they are tried with a tiny model of the same class. `folder`
    holds what is written.
    """

    size: str
    tiny: bool
    folder: Path
    shares: dict[int, float] = field(default_factory=dict)
    """By batch, the share of decoder blocks that a step computes again: as much as it must."""
    slow: list[float] = field(default_factory=list)
    """Seconds of the reference loop's step in each turn, once they are measured."""
    turns: int = 2

    @cached_property
    def bench(self) -> Bench:
        return prepare("tiny" if self.tiny else self.size, self.folder)

    def chosen(self, whole: int, tiny: int) -> int:
        """How much of something is measured."""
        return tiny if self.tiny else whole

    def ours(self, batch: int) -> None:
        """A malicious and a benign batch, recomputing no more than these need."""
        objective = self.bench.objective
        objective.recomputed = self.shares.get(batch, 0.0)
        self.bench.ours(batch)
        self.shares[batch] = objective.recomputed

    @cached_property
    def measured_flops(self) -> float:
        """bfloat16 operations a second of a large matrix product, the best of three."""
        side, count = self.chosen(8192, 256), self.chosen(20, 2)
        a, b = (torch.randn(side, side, device=self.bench.vlm.device, dtype=torch.bfloat16) for _ in range(2))
        rates = []
        for _ in range(3):
            finish()
            begun = time.perf_counter()
            for _ in range(count):
                a @ b
            finish()
            rates.append(2 * side**3 * count / (time.perf_counter() - begun))
        return max(rates)


Measure = Callable[[Place], Row]


def nominal_flops() -> float | None:
    """Of this GPU; None for one that is not in PEAK_FLOPS."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return next((peak for card, peak in PEAK_FLOPS.items() if card in name), None)
