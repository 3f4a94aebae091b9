"""How a harmfulness vector can be made."""

from __future__ import annotations

from enum import StrEnum


class Direction(StrEnum):
    """How a direction is made."""

    MEAN = "mean"
    """The difference of the means of malicious and benign queries (the paper's)."""
    MATCHED = "matched"
    """The same within each kind of query (`group`) that has both, averaged over the kinds."""
    LDA = "lda"
    """Linear discriminant within kinds: that difference, whitened by the spread within kinds and sides."""


class FitOn(StrEnum):
    """Which queries a direction is fitted to."""

    IMAGES = "images"
    """The training queries as they are."""
    TEXTS = "texts"
    """Their requests asked as text, where they are known: where the model recognises them."""
