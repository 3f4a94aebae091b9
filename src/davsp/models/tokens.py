"""Batches of tokens: prompts, and the answers that are to follow them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from davsp.util.devices import on_device

NO_LABEL = -100


@dataclass(frozen=True)
class Tokens:
    """A right-padded batch of prompts, with answers where they are wanted.

    ids: int64 (B, T). last_prompt: int64 (B,), the index of the last prompt token. labels: int64 (B, T), the
    token to be predicted AT each position (already shifted), NO_LABEL where nothing is to be predicted. rows and
    columns: int64 (N,), where something is.
    """

    ids: Int[Tensor, "b t"]
    last_prompt: Int[Tensor, " b"]
    labels: Int[Tensor, "b t"]
    rows: Int[Tensor, " n"]
    columns: Int[Tensor, " n"]

    @classmethod
    def padded(
        cls,
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]] | None,
        pad: int,
        device: torch.device,
    ) -> Tokens:
        """Prompts, each followed by its answer if answers are given.

        In causal attention no token sees the padding to its right, so no mask is needed.
        """
        continuations = answers or [()] * len(prompts)
        width = max(len(p) + len(a) for p, a in zip(prompts, continuations, strict=True))
        ids = torch.full((len(prompts), width), pad)
        labels = torch.full((len(prompts), width), NO_LABEL)
        for row, (prompt, answer) in enumerate(zip(prompts, continuations, strict=True)):
            end = len(prompt) + len(answer)
            ids[row, :end] = torch.tensor([*prompt, *answer])
            labels[row, len(prompt) - 1 : end - 1] = torch.tensor(answer, dtype=torch.long)
        last = torch.tensor([len(p) - 1 for p in prompts])
        # Where there are answers is found out here: on a GPU, the CPU would have to wait for it.
        places = (labels != NO_LABEL).nonzero(as_tuple=True)
        return cls(*(on_device(part, device) for part in (ids, last, labels, *places)))

    @property
    def prompt(self) -> Bool[Tensor, "b t"]:
        """bool (B, T): which tokens belong to a prompt, neither to an answer nor to the padding."""
        positions = torch.arange(self.ids.shape[1], device=self.ids.device)
        return positions <= self.last_prompt[:, None]
