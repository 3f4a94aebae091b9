"""Official scores with their uncertainty."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from davsp.errors import MALFORMED, InputError
from davsp.rates import Figure

RESAMPLES = 1000
AT_A_TIME = 100
"""Resamples that are held in memory together."""


def resampled(
    value: float, strata: Sequence[NDArray[np.float64]], statistic: Callable[..., NDArray[np.float64]]
) -> Figure:
    """A statistic of means, with the 95 % percentile interval of a bootstrap of RESAMPLES; without one where a stratum
    has but one row, of whose spread nothing is known.

    `strata`: arrays (n,) or (n, k), whose rows are resampled within each. `statistic` takes the means of each stratum,
    (resamples,) or (k, resamples), as so many arguments, and gives an array (resamples,). The seed is fixed: the same
    answers have the same interval.
    """
    from scipy.stats import DegenerateDataWarning, bootstrap  # takes a second, which a command's help need not wait for

    def of_means(*samples: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return statistic(*(sample.mean(axis=axis) for sample in samples))

    n = sum(map(len, strata))
    if min(map(len, strata)) < 2:
        return Figure(value=value, n=n)
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # of resamples without a value, which are left out
        drawn = bootstrap(
            tuple(strata), of_means, n_resamples=RESAMPLES, batch=AT_A_TIME, method="percentile", vectorized=True, rng=0
        ).bootstrap_distribution
    finite = drawn[np.isfinite(drawn)]
    if not len(finite):
        return Figure(value=value, n=n)
    low, high = np.quantile(finite, [0.025, 0.975])
    return Figure(value=value, n=n, low=float(low), high=float(high), interval="bootstrap")


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
        figures = {name: figure.model_dump() for name, figure in self.figures.items()}
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
