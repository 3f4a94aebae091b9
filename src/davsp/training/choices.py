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
    """Linear discriminant: that difference, whitened by the spread within sides, of kinds and of queries of a kind."""

    LOGISTIC = "logistic"
    """Logistic regression of malicious on benign queries of all kinds: where one threshold is to tell them apart."""


class FitOn(StrEnum):
    """Which queries a direction is fitted to."""

    IMAGES = "images"
    """The training queries as they are."""
    TEXTS = "texts"
    """Their requests asked as text, where they are known: where the model recognises them."""
