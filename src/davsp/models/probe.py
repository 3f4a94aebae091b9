"""Scores of hidden states."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear score: the last prompt token's state after each of `layers`, projected on its own of `directions`,
    float32 (len(layers), hidden), and added up. Of one layer it is the projection on a direction.

    Raises ValueError for directions that are not one for each layer.
    """

    layers: tuple[int, ...]
    directions: Tensor

    def __post_init__(self) -> None:
        if self.directions.dim() != 2 or len(self.directions) != len(self.layers):
            raise ValueError(f"{len(self.layers)} layers, and directions of shape {tuple(self.directions.shape)}")

    @classmethod
    def at(cls, layer: int, direction: Float[Tensor, " hidden"]) -> Probe:
        """The projection on one direction, at one layer."""
        return cls((layer,), direction[None])

    def score(self, states: Float[Tensor, "b layers hidden"]) -> Float[Tensor, " b"]:
        """Of states at its layers, in their order, as `last_prompt_states` gives them; differentiable."""
        return torch.einsum("blh,lh->b", states, self.directions.to(states.device))

    def __str__(self) -> str:
        numbers = ", ".join(map(str, self.layers))
        return f"decoder layer{'s' if len(self.layers) > 1 else ''} {numbers}"
