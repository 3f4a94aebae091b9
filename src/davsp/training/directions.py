"""Directions that tell malicious from benign queries, fitted to their hidden states, one for each decoder layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from davsp.data.query import Query, request_key
from davsp.training.choices import Direction
from davsp.util.processes import processes

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

T = TypeVar("T")
RIDGES, ITERATIONS = (0.03, 0.003, 0.0003), 1000
"""Of logistic regression: weights of half the squared norm beside the mean loss of a query, of which cross-validation
chooses one, and steps at most."""
FOLDS = 5
Labelled = Iterable[tuple[Sequence[Query], Tensor]]
"""Batches of queries, and their states, float32 (B, layers, hidden), on the CPU."""


def fit_directions(method: Direction, batches: Labelled) -> Float[Tensor, "layers hidden"]:
    """Unit directions, float32 (layers, hidden), from all processes' batches.

    Where no kind has malicious and benign queries, all malicious ones are compared with all benign ones.
    """
    sums: dict[tuple[str, bool], Tensor] = {}
    counts: dict[tuple[str, bool], int] = {}
    kept: list[Tensor] = []
    cells: list[tuple[str, bool]] = []
    requests: list[str] = []
    for queries, states in batches:
        own = [(q.kind if method is not Direction.MEAN else "", q.malicious) for q in queries]
        for cell in set(own):
            rows = states[[i for i, c in enumerate(own) if c == cell]]
            sums[cell] = sums.get(cell, 0) + rows.double().sum(0)
            counts[cell] = counts.get(cell, 0) + len(rows)
        if method in (Direction.LDA, Direction.LOGISTIC):
            kept.append(states)
            cells += own
            requests += map(request_key, queries)
    if method is Direction.LOGISTIC:
        return _logistic(torch.cat(_gathered(kept)), _gathered(cells), _gathered(requests))
    sums, counts = _together(sums, counts)
    means = {cell: total / counts[cell] for cell, total in sums.items()}
    both = [kind for kind in sorted({kind for kind, _ in means}) if {(kind, False), (kind, True)} <= means.keys()]
    if both:
        weights = [1 / (1 / counts[kind, False] + 1 / counts[kind, True]) for kind in both]
        parts = [w * (means[kind, True] - means[kind, False]) for kind, w in zip(both, weights, strict=True)]
        differences = torch.stack(parts).sum(0) / sum(weights)
    else:
        differences = _side_mean(sums, counts, True) - _side_mean(sums, counts, False)
    if method is Direction.LDA:
        sides = {side: _side_mean(sums, counts, side).float() for side in (False, True)}
        within = torch.cat(_gathered(kept)) - torch.stack([sides[side] for _, side in _gathered(cells)])
        whitened = [_whiten(within[:, k].numpy(), differences[k].numpy()) for k in range(len(differences))]
        differences = torch.from_numpy(np.stack(whitened))
    return torch.nn.functional.normalize(differences, dim=-1).float()


def _logistic(
    states: Float[Tensor, "n layers hidden"], cells: Sequence[tuple[str, bool]], requests: Sequence[str]
) -> Float[Tensor, "layers hidden"]:
    """At each layer the unit direction of logistic regression, with a ridge penalty, on standardised states.

    The sides weigh alike within each kind that has both, so that the kind of a query is no evidence. Cross-validation
    chooses the penalty, no request being in two folds; the strongest where a side has fewer requests than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    counts = Counter(cells)
    weights = np.array(
        [
            (1 + counts[kind, not side] / counts[kind, side]) / 2 if counts[kind, not side] else 1.0
            for kind, side in cells
        ]
    )
    malicious = np.array([side for _, side in cells])
    folds: list[tuple[np.ndarray, np.ndarray]] = []
    if min(len(set(compress(requests, malicious == side))) for side in (False, True)) >= FOLDS:
        folds += StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(requests, malicious, requests)
    directions = []
    for column in states.numpy().swapaxes(0, 1):
        scale = column.std(0)
        scale[scale == 0] = 1.0
        found = _regression((column - column.mean(0)) / scale, malicious, weights, folds)
        directions.append(found.coef_[0] / scale)
    return torch.nn.functional.normalize(torch.from_numpy(np.stack(directions)), dim=-1).float()


def _regression(
    states: np.ndarray, malicious: np.ndarray, weights: np.ndarray, folds: Sequence[tuple[np.ndarray, np.ndarray]]
) -> LogisticRegression:
    """The regression on all, with the strongest penalty at which regressions on the other folds lose no more than one
    standard error above the least (Breiman et al. 1984): closer fits tell unseen kinds of query less well."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    def fitted(ridge: float, rows: np.ndarray) -> LogisticRegression:
        regression = LogisticRegression(C=1 / (ridge * len(rows)), max_iter=ITERATIONS)
        return regression.fit(states[rows], malicious[rows], weights[rows])

    def losses(ridge: float) -> list[float]:
        lost = []
        for rows, rest in folds:
            probable = fitted(ridge, rows).predict_proba(states[rest])[:, 1]
            lost.append(log_loss(malicious[rest], probable, sample_weight=weights[rest], labels=[False, True]))
        return lost

    chosen = RIDGES[0]
    if folds:
        of_folds = np.array([losses(ridge) for ridge in RIDGES])
        means, errors = of_folds.mean(1), of_folds.std(1, ddof=1) / len(folds) ** 0.5
        best = means.argmin()
        chosen = RIDGES[int((means <= means[best] + errors[best]).argmax())]
    return fitted(chosen, np.arange(len(states)))


def _side_mean(sums: dict[tuple[str, bool], Tensor], counts: dict[tuple[str, bool], int], malicious: bool) -> Tensor:
    """The mean of all queries of one side, float64 (layers, hidden)."""
    cells = [cell for cell in sums if cell[1] is malicious]
    return torch.stack([sums[cell] for cell in cells]).sum(0) / sum(counts[cell] for cell in cells)


def _together(
    sums: dict[tuple[str, bool], Tensor], counts: dict[tuple[str, bool], int]
) -> tuple[dict[tuple[str, bool], Tensor], dict[tuple[str, bool], int]]:
    """The sums and counts of all processes."""
    if processes().count == 1:
        return sums, counts
    all_sums: dict[tuple[str, bool], Tensor] = {}
    all_counts: dict[tuple[str, bool], int] = {}
    for cell, total, count in _gathered([(cell, sums[cell], counts[cell]) for cell in sums]):
        all_sums[cell] = all_sums.get(cell, 0) + total
        all_counts[cell] = all_counts.get(cell, 0) + count
    return all_sums, all_counts


def _gathered(own: Sequence[T]) -> list[T]:
    """The items of all processes, one process after the other, however many each has."""
    return [item for share in processes().all_gather([list(own)]) for item in share]


def _whiten(residuals: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """The linear discriminant, float64 (hidden,): the inverse of the residuals' covariance times a difference of means.

    residuals: float32 (N, hidden), each query's state less the mean of its side; that they spread along what tells
    kinds apart turns the discriminant away from it. The covariance is that of the standardised states, shrunk towards a
    multiple of the identity as Ledoit and Wolf (2004) say.
    """
    from scipy.linalg import solve
    from sklearn.covariance import ledoit_wolf

    scale = residuals.std(0).astype(np.float64)
    scale[scale == 0] = 1.0
    covariance, _ = ledoit_wolf(residuals / scale, assume_centered=True)
    direction: np.ndarray = solve(covariance, difference / scale, assume_a="pos") / scale
    return direction
