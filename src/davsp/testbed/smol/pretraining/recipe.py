"""The recipe's numbers: how large everything is, and how long it takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Sizes, rates and shares. Rates are the highest of a stage; they fall with the time that it has used.

    `layers`: how many of the decoder's are trained, all where None; `most_steps`: of each stage, where not None.
    """

    tower_share: float = 0.36
    decoder_share: float = 0.52
    """Of the minutes; what is left is for refusals."""

    chunk: int = 512
    """Images that a worker lays out at a time, and a step of the tower's stage takes."""
    kept_chunks: int = 240
    single_rows: int = 112
    double_rows: int = 64
    text_rows: int = 64
    """Sequences of a step: images with short answers, images with a request (read and followed), texts alone."""

    tower_rate: float = 6e-4
    lora_rate: float = 1e-3
    refusal_rate: float = 3e-4
    tower_rate_beside: float = 2e-4
    """Of tower and projector while the decoder learns too."""
    warm_steps: int = 60

    written: int = 12000
    """Requests that the decoder writes itself."""
    answer_tokens: int = 40
    generated_at_once: int = 3072
    measured: int = 200
    """Queries of each row of the measurement."""
    layers: int | None = None
    most_steps: int | None = None


TINY = Recipe(
    chunk=8,
    kept_chunks=4,
    single_rows=6,
    double_rows=4,
    text_rows=4,
    warm_steps=2,
    written=6,
    answer_tokens=6,
    generated_at_once=8,
    measured=3,
    layers=2,
    most_steps=2,
)
"""To see that everything runs; the model that comes out is of no use."""
