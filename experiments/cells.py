"""How experiments write rates in their tables."""

from __future__ import annotations

from collections.abc import Iterable

from davsp.judges.rates import pooled
from davsp.rates import Rate, Rates


def pooled_cell(rates: Iterable[Rate]) -> str:
    """Rates taken together, in percent, with their 95 % interval and N: `95.4 [92.0, 97.4] n=240`."""
    rate = pooled(rates)
    share = rate and rate.in_percent()
    return f"{share} n={rate.n}" if rate and share else "-"


def rate_cell(rate: Rate | None, places: int = 1) -> str:
    """The same of one rate, without N."""
    return (rate and rate.in_percent(places)) or "no score"


def outcome_cells(rates: Rates) -> str:
    """Malicious queries in images resisted, benign ones right, and harmless ones refused: three cells of a table."""
    in_images = [rate for kind, rate in rates.rsr.items() if kind != "text"]
    measured = (in_images, rates.benign_accuracy.values(), rates.over_refusal.values())
    return " | ".join(map(pooled_cell, measured))
