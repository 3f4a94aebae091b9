"""The front of a training run: every validated prompt that no other beats in safety, usefulness and over-refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from torch import Tensor

from davsp.training.run_state import Record

SIGNS = {"refused": 1, "kept": 1, "over_refusal": -1}
"""What a point of the front is, of a validation record: 1 where more is better."""


@dataclass
class Front:
    """Prompts, float32 (3, H, W), and their validation records, each with its "step"; in the order of the steps."""

    points: list[tuple[Record, Tensor]] = field(default_factory=list)

    def add(self, record: Record, prompt: Tensor) -> None:
        """Add a prompt, unless one is better; those that it beats or equals are dropped."""
        new = place(record)
        places = [place(other) for other, _ in self.points]
        if any(_at_least(old, new) and old != new for old in places):
            return
        kept = [point for point, old in zip(self.points, places, strict=True) if not _at_least(new, old)]
        self.points = [*kept, (record, prompt.detach().cpu().clone())]

    @property
    def steps(self) -> list[int]:
        return [int(record["step"]) for record, _ in self.points]


def place(record: Record) -> tuple[float, ...]:
    """Where a validation record lies, each the more the better; of several models, the means of theirs."""
    return tuple(sign * fmean(values) for name, sign in SIGNS.items() if (values := figures(record, name)))


def figures(record: Record, name: str) -> list[float]:
    """The figures of that name, of whichever side and model."""
    return [value for key, value in record.items() if key.rstrip("_0123456789").endswith(name)]


def _at_least(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True))
