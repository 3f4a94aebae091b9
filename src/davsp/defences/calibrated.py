"""What a defence with a calibrated threshold says of itself, and what is measured of it with the queries of that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from davsp.data.query import Query
from davsp.defences import fitted
from davsp.rates import Rate
from davsp.training.separation import score_statistics

CURVE = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of benign queries at which the card says how many malicious ones are caught."""


class CalibratedFacts(fitted.FittedFacts):
    """What it says of itself. Rates are of the queries that it was calibrated with, by kind (`group`)."""

    layers: tuple[int, ...]
    threshold: float
    """A query that scores above it is flagged."""
    flagged: dict[str, Rate]
    """Of the benign queries."""
    caught: dict[str, Rate]
    """Of the malicious ones."""
    curve: dict[str, Rate]
    """Malicious queries caught, by the share of benign ones above the threshold."""


def measured(scores: Sequence[float], queries: Sequence[Query], threshold: float) -> dict[str, Any]:
    """Of the calibration queries and their scores: the facts `flagged`, `caught`, `curve` and `metrics`."""
    malicious = [score for score, query in zip(scores, queries, strict=True) if query.malicious]
    benign = [score for score, query in zip(scores, queries, strict=True) if not query.malicious]
    told_apart = score_statistics(scores, queries)
    return {
        "flagged": _by_kind(scores, queries, threshold, malicious=False),
        "caught": _by_kind(scores, queries, threshold, malicious=True),
        "curve": {f"{share:g}": _above(malicious, float(np.quantile(benign, 1 - share))) for share in CURVE},
        "metrics": {"auroc": told_apart.auroc, "separation": told_apart.separation},
    }


def _by_kind(
    scores: Sequence[float], queries: Sequence[Query], threshold: float, *, malicious: bool
) -> dict[str, Rate]:
    """By group, the queries of one side that are above the threshold."""
    found: dict[str, list[float]] = defaultdict(list)
    for score, query in zip(scores, queries, strict=True):
        if query.malicious is malicious:
            found[query.group].append(score)
    return {group: _above(own, threshold) for group, own in sorted(found.items())}


def _above(scores: Sequence[float], threshold: float) -> Rate:
    return Rate.of(sum(not score <= threshold for score in scores), len(scores))


def card(about: str, facts: CalibratedFacts) -> str:
    """What the folder says of it, for people."""
    rows = [
        *(("benign, flagged", name, rate) for name, rate in facts.flagged.items()),
        *(("malicious, caught", name, rate) for name, rate in facts.caught.items()),
        *(
            (f"malicious, caught where {100 * float(share):g} % of the benign are flagged", "all", rate)
            for share, rate in facts.curve.items()
        ),
    ]
    table = "\n".join(f"| {what} | {name} | {_shown(rate)} |" for what, name, rate in rows)
    promised = f"at most {100 * facts.config['rate']:g} % of benign queries flagged"
    if refused := facts.config.get("refusal_rate"):
        promised += f", {100 * refused:g} % refused whatever stands behind it"
    plural = "s" if len(facts.layers) > 1 else ""
    return (
        f"{about}\n\nDecoder layer{plural} {', '.join(map(str, facts.layers))}. Promised: {promised}, with "
        f"{100 * facts.config['confidence']:g} % confidence. Measured on the queries that it was calibrated with:\n\n"
        f"| | kind | |\n|---|---|---|\n{table}"
    )


def _shown(rate: Rate) -> str:
    share = rate.in_percent(sign=" %")
    return f"{share} n={rate.n}" if share else "-"
