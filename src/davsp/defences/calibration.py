"""Split conformal calibration: thresholds that benign queries exceed no more often than is promised."""

from __future__ import annotations

import math
from collections.abc import Sequence

from davsp.errors import InputError


def conformal_threshold(benign: Sequence[float], rate: float, confidence: float) -> float:
    """The least score that benign queries exceed no more often than `rate`, with a confidence over the draw of those
    that it is calibrated with.

    Of n exchangeable scores, the k-th smallest is exceeded by a share of new ones that is distributed as
    Beta(n + 1 - k, k) (Vovk 2012; Angelopoulos and Bates 2021, section on the effect of the size of the calibration
    set). The least k is taken of which that share is at most `rate` with probability `confidence`. Raises InputError
    where n is too small for the promise.
    """
    from scipy.stats import beta

    n = len(benign)
    check_enough(n, rate, confidence)
    rank = next(k for k in range(1, n + 1) if beta.cdf(rate, n + 1 - k, k) >= confidence)
    return sorted(benign)[rank - 1]


def check_enough(n: int, rate: float, confidence: float) -> None:
    """Raise InputError where n benign queries are too few for the promise."""
    if n < needed(rate, confidence):
        raise InputError(
            f"{n} benign queries cannot carry the promise that at most {100 * rate:g} % are flagged, with "
            f"{100 * confidence:g} % confidence: calibrate with {needed(rate, confidence)} or more, or promise less."
        )


def needed(rate: float, confidence: float) -> int:
    """How many benign queries a promise needs: with the greatest as threshold, (1 - rate)^n <= 1 - confidence."""
    return math.ceil(math.log(1 - confidence) / math.log(1 - rate))
