"""What a gate says of itself."""

from __future__ import annotations

from davsp.defences.calibrated import CalibratedFacts


class GateFacts(CalibratedFacts):
    """Its thresholds, and the kinds of query that it knows."""

    refusal_threshold: float | None = None
    """Above it a query is refused, whatever stands behind the gate."""
    kinds: list[str]
    """The kinds that it was fitted to, each with its side."""
    familiar: float
    """A query that is further than this from each of them looks like none of them."""
    flatten: int = 0
    """Levels of 255 within which pixels are brought to an image's main colours before it is read; 0: they are not."""
