"""How well directions tell malicious from benign queries, by decoder layer, and which layer is chosen by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from davsp.data.query import Query
from davsp.errors import InputError


@dataclass(frozen=True)
class LayerStatistics:
    """How the validation queries project onto a layer's direction."""

    layer: int
    malicious_mean: float
    malicious_std: float
    benign_mean: float
    benign_std: float
    auroc: float
    separation: float
    """Cohen's d: difference of the means over the pooled standard deviation."""
    separation_error: float
    """Standard error of `separation`."""
    deviation: float | None = None
    """The pooled standard deviation; None in vectors of davsp 0.1."""
    text_mean: float | None = None
    """Mean of the malicious queries' requests asked as text; None where they are not known."""
    benign_means: Mapping[str, float] = field(default_factory=dict)
    """Mean of the benign queries of each kind (`group`)."""

    @property
    def spread(self) -> float:
        """The pooled standard deviation, at least roughly."""
        if self.deviation is not None:
            return self.deviation
        return float(((self.malicious_std**2 + self.benign_std**2) / 2) ** 0.5)


def layer_statistics(
    projections: np.ndarray, malicious: np.ndarray, kinds: np.ndarray, texts: np.ndarray, within: bool
) -> tuple[LayerStatistics, ...]:
    """projections: float32 (N, layers); malicious: bool (N,); kinds: str (N,), each query's; texts: float32
    (M, layers), malicious requests as text, M may be 0.

    With `within`, AUROC and separation are those within kinds that have malicious and benign queries, where there is
    one; else those of all malicious against all benign queries.
    """
    compared = _compared(malicious, kinds) if within else []
    cells = [(malicious & (kinds == kind), ~malicious & (kinds == kind)) for kind in compared] or [
        (malicious, ~malicious)
    ]
    return tuple(
        _of_layer(k, column, malicious, kinds, cells, texts[:, k - 1])
        for k, column in enumerate(projections.T.astype(np.float64), start=1)
    )


def _compared(malicious: np.ndarray, kinds: np.ndarray) -> list[str]:
    """The kinds that have malicious and benign queries."""
    return sorted(set(kinds[malicious]) & set(kinds[~malicious]))


def _of_layer(
    layer: int,
    column: np.ndarray,
    malicious: np.ndarray,
    kinds: np.ndarray,
    cells: Sequence[tuple[np.ndarray, np.ndarray]],
    texts: np.ndarray,
) -> LayerStatistics:
    pairs = [(column[high], column[low]) for high, low in cells]
    n, m = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
    squares = sum(high.var() * len(high) + low.var() * len(low) for high, low in pairs)
    deviation = float((squares / max(n + m - 2 * len(pairs), 1)) ** 0.5)
    weights = np.array([1 / (1 / len(high) + 1 / len(low)) for high, low in pairs])
    difference = float(np.average([high.mean() - low.mean() for high, low in pairs], weights=weights))
    d = difference / deviation if deviation > 0 else 0.0
    high, low = column[malicious], column[~malicious]
    return LayerStatistics(
        layer=layer,
        malicious_mean=float(high.mean()),
        malicious_std=float(high.std()),
        benign_mean=float(low.mean()),
        benign_std=float(low.std()),
        auroc=float(np.average([auroc(*pair) for pair in pairs], weights=[len(h) * len(g) for h, g in pairs])),
        separation=d,
        # Hedges and Olkin (1985): large-sample standard error of Cohen's d.
        separation_error=((n + m) / (n * m) + d**2 / (2 * (n + m))) ** 0.5,
        deviation=deviation,
        text_mean=float(texts.mean()) if len(texts) else None,
        benign_means={str(kind): float(column[~malicious & (kinds == kind)].mean()) for kind in set(kinds[~malicious])},
    )


def score_statistics(scores: Sequence[float], queries: Sequence[Query]) -> LayerStatistics:
    """How well one score of each query tells malicious from benign ones within their kinds; its `layer` is none."""
    malicious = np.array([query.malicious for query in queries])
    kinds = np.array([query.kind for query in queries])
    [found] = layer_statistics(np.array(scores)[:, None], malicious, kinds, np.zeros((0, 1)), within=True)
    return found


def check_both_sides(name: str, queries: Sequence[Query]) -> None:
    """Raise InputError where malicious or benign ones are missing. `name` says which queries these are."""
    if len({query.malicious for query in queries}) < 2:
        raise InputError(f"the {name} queries must hold malicious and benign ones: mark each with `malicious`.")


def choose_layer(statistics: Sequence[LayerStatistics]) -> int:
    """The earliest layer whose separation is within one standard error of the best."""
    best = max(statistics, key=lambda s: s.separation)
    floor = best.separation - best.separation_error
    return next(s.layer for s in statistics if s.separation >= floor)


def auroc(high: np.ndarray, low: np.ndarray) -> float:
    """The chance that a value of `high` exceeds one of `low`, ties counting half: Mann and Whitney's U (1947) over the
    number of pairs."""
    from scipy.stats import mannwhitneyu  # takes a second, which those who only load a vector need not wait for

    return float(mannwhitneyu(high, low, method="asymptotic").statistic / (len(high) * len(low)))
