"""Letters that look like Latin ones and are none: what a reader does not see, and a filter or a tokeniser does."""

from __future__ import annotations

import random

HOMOGLYPHS = str.maketrans("aceijopsxyABCEHIKMOPTX", "асеіјорѕхуАВСЕНІКМОРТХ")  # noqa: RUF001 - they are meant
"""Cyrillic letters for Latin ones."""
GREEK = str.maketrans("abeiknoptuvxABEHIKMNOTXZ", "αβεικηορτυνχΑΒΕΗΙΚΜΝΟΤΧΖ")
"""Greek letters for Latin ones, some of them only alike."""


def mixed(text: str, rng: random.Random) -> str:
    """Each letter in Latin, Cyrillic or Greek, at random."""
    tables: tuple[dict[int, int], ...] = ({}, HOMOGLYPHS, GREEK)
    return "".join(letter.translate(rng.choice(tables)) for letter in text)
