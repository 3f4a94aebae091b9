"""Sampling that depends on a request's own seed, and on nothing else in its batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LogitsProcessor

from davsp.models.requests import Request


class SeededSampling(LogitsProcessor):  # type: ignore[misc]
    """Makes greedy search draw from softmax(logits / temperature), row by row; rows at temperature 0 stay greedy.

    The largest of logits / temperature + Gumbel noise is such a draw (Gumbel 1954), and each row's noise comes from a
    generator of its own.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        self._rows = [(r.temperature, torch.Generator().manual_seed(r.seed)) for r in requests]

    def __call__(
        self,
        input_ids: Int[Tensor, "b t"],  # noqa: ARG002 - part of transformers' interface
        scores: Float[Tensor, "b vocabulary"],
    ) -> Float[Tensor, "b vocabulary"]:
        drawn = scores.float().clone()
        for row, (temperature, generator) in enumerate(self._rows):
            if temperature > 0:
                noise = -torch.log(-torch.log(torch.rand(scores.shape[1], generator=generator)))
                drawn[row] = drawn[row] / temperature + noise.to(drawn.device)
        return drawn
