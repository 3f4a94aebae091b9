"""Official scores with their uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from davsp.errors import MALFORMED, InputError
from davsp.judges.rates import wilson

RESAMPLES = 1000


@dataclass(frozen=True)
class Figure:
    """One number of a score, on the benchmark's own scale, and its 95 % interval.

    `n` is the number of what it is taken over: answers, images or pairs. `interval` says how the interval was made:
    "wilson" for a share, "bootstrap" (percentiles of RESAMPLES seeded resamples) elsewhere, "" for none.
    """

    value: float
    n: int
    low: float | None = None
    high: float | None = None
    interval: str = ""

    @classmethod
    def share(cls, successes: int, n: int) -> Figure:
        """A share of n > 0, with its Wilson interval."""
        low, high = wilson(successes, n)
        return cls(successes / n, n, low, high, "wilson")

    @classmethod
    def resampled(
        cls,
        value: float,
        strata: Sequence[NDArray[np.float64]],
        statistic: Callable[[list[NDArray[np.float64]]], NDArray[np.float64]],
    ) -> Figure:
        """A statistic of means, with the 95 % percentile interval of a bootstrap; without one where a stratum has but
        one row, of whose spread nothing is known.

        `strata`: arrays (n, k), whose rows are resampled within each. `statistic` takes the means of each stratum, an
        array (RESAMPLES, k), and gives an array (RESAMPLES,). The seed is fixed: the same answers have the same
        interval.
        """
        n = sum(map(len, strata))
        if min(map(len, strata)) < 2:
            return cls(value, n)
        rng = np.random.default_rng(0)
        means = []
        for values in strata:
            counts = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size=RESAMPLES)
            means.append(counts @ values / len(values))
        with np.errstate(divide="ignore", invalid="ignore"):
            resampled = statistic(means)
        resampled = resampled[np.isfinite(resampled)]
        if not len(resampled):
            return cls(value, n)
        low, high = np.quantile(resampled, [0.025, 0.975])
        return cls(value, n, float(low), float(high), "bootstrap")

    def to_json(self) -> dict[str, float | int | str | None]:
        return {"value": self.value, "n": self.n, "low": self.low, "high": self.high, "interval": self.interval}


@dataclass(frozen=True)
class Scores:
    """What the official scoring of one set of answers says.

    `name`: the answers' file or folder. `decimals`: how many places the official code prints. `notes` say what is out
    of the ordinary, such as answers that are missing.
    """

    name: str
    figures: Mapping[str, Figure]
    decimals: int
    notes: tuple[str, ...] = ()

    def printed(self, figure: str) -> float:
        """A figure as the official code prints it: rounded as numpy does."""
        return float(np.round(self.figures[figure].value, self.decimals))

    def to_json(self) -> dict[str, Any]:
        figures = {name: figure.to_json() for name, figure in self.figures.items()}
        return {"name": self.name, "figures": figures, "notes": list(self.notes)}


def answer_files(path: Path, what: str, *patterns: str) -> list[Path]:
    """A file of answers by itself, or those of a folder whose names have one of the patterns.

    Raises InputError, with `what` is missing, for a folder without any.
    """
    if not path.is_dir():
        return [path]
    files = sorted(file for pattern in patterns for file in path.glob(pattern))
    if not files:
        raise InputError(f"{path} holds no {what}.")
    return files


def score_files(files: Sequence[Path], score: Callable[[Path], Scores]) -> list[Scores]:
    """The scores of each file. Raises InputError, naming the file, for one that cannot be scored."""
    scores = []
    for file in files:
        try:
            scores.append(score(file))
        except InputError as error:
            raise error if str(file) in str(error) else InputError(f"{file}: {error}") from error
        except MALFORMED as error:
            raise InputError(f"{file} is not in the published form ({type(error).__name__}: {error}).") from error
    return scores
