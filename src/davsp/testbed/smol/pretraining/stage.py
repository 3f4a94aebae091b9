"""A stage of training: its time, its rate, and the lines that it logs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from davsp.errors import ModelError
from davsp.testbed.smol.pretraining.recipe import Recipe

SECONDS_A_LINE = 5.0
LEAST_RATE = 0.03
"""Share of a stage's highest rate that it ends with."""
Log = Callable[[str], None]


@dataclass
class Stage:
    """The clock of one stage; it runs from the first step on. `samples` are counted by `step_done`.

    `before`: seconds that it has had in an earlier run; `stopped`: whether it is to end before its time.
    """

    name: str
    seconds: float
    recipe: Recipe
    log: Log
    before: float = 0.0
    stopped: Callable[[], bool] = lambda: False
    steps: int = 0
    samples: int = 0
    _begun: float | None = None
    _logged: float = field(default=0.0)

    def begin(self) -> None:
        self._begun = self._logged = time.monotonic()

    @property
    def used(self) -> float:
        """Seconds that it has had."""
        return self.before + (time.monotonic() - self._begun if self._begun is not None else 0.0)

    @property
    def is_over(self) -> bool:
        most = self.recipe.most_steps
        return self.stopped() or self.used >= self.seconds or (most is not None and self.steps >= most)

    @property
    def rate(self) -> float:
        """Of 1: rises over the first steps, then falls with the time that is used, as a cosine."""
        share = min(1.0, self.used / self.seconds) if self.seconds else 1.0
        falling = LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * share))
        return falling * min(1.0, (self.steps + 1) / self.recipe.warm_steps)

    def set_rates(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Give the groups of optimizers their "highest" rate, times the share that is on."""
        rate = self.rate
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["highest"] * rate

    def step_done(self, samples: int) -> None:
        self.steps += 1
        self.samples += samples

    @property
    def is_due(self) -> bool:
        """Whether a line should be logged after this step."""
        most = self.recipe.most_steps
        return time.monotonic() - self._logged >= SECONDS_A_LINE or most is not None

    def line(self, figures: Mapping[str, float | Tensor], more: str = "") -> None:
        """Log figures, a loss first. Raises ModelError where that is no number any more."""
        values = {name: float(value) for name, value in figures.items()}
        shown = " ".join(f"{name} {value:.3f}" for name, value in values.items())
        speed = self.samples / max(self.used - self.before, 1e-9)
        self.log(
            f"{self.name} step {self.steps} ({self.used:.0f} of {self.seconds:.0f} s): {shown} | {speed:.0f}/s {more}"
        )
        self._logged = time.monotonic()
        if not math.isfinite(next(iter(values.values()))):
            raise ModelError(f"the stage {self.name} has diverged: run it again with another --seed.")


def memory(device: torch.device) -> str:
    """The most memory of the device that was ever in use, for a line."""
    if device.type != "cuda":
        return ""
    return f"{torch.cuda.max_memory_allocated(device) / 2**30:.0f} GiB"
