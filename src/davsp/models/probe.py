"""Scores of hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-6
"""The least spread of a dimension."""


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


@dataclass(frozen=True, eq=False)
class KnownKinds:
    """What the kinds of query look like that were seen before, at one decoder layer.

    `centres`, float32 (kinds, hidden), are the mean states of the kinds, `spread`, float32 (hidden,), the standard
    deviations within them. A state that lies further than `threshold` from every centre is of none of them.
    """

    layer: int
    centres: Tensor
    spread: Tensor
    threshold: float

    @classmethod
    def of(cls, layer: int, states: Float[Tensor, "n hidden"], kinds: Sequence[str]) -> KnownKinds:
        """Those of states whose kinds are known, with no threshold."""
        members = [states[[i for i, other in enumerate(kinds) if other == kind]] for kind in sorted(set(kinds))]
        centres = torch.stack([own.mean(0) for own in members])
        within = torch.cat([own - centre for own, centre in zip(members, centres, strict=True)])
        return cls(layer, centres, within.square().mean(0).sqrt().clamp_min(EPSILON), float("inf"))

    def distances(self, states: Float[Tensor, "b hidden"]) -> Float[Tensor, " b"]:
        """From the nearest centre: the mean over the dimensions of the squared difference in units of the spread."""
        centres, spread = self.centres.to(states.device), self.spread.to(states.device)
        apart = [((states - centre) / spread).square().mean(-1) for centre in centres]
        return torch.stack(apart).amin(0)

    def unfamiliar(self, states: Float[Tensor, "b hidden"]) -> list[bool]:
        """Whether each is of none of the kinds; what is no number is of none."""
        return [not distance <= self.threshold for distance in self.distances(states).tolist()]
