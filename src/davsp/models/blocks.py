"""How a model's decoder blocks are run in training: in less memory, or compiled, to the same result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from davsp.models.base import VisionLanguageModel

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the blocks that are computed again: each needs less memory and more time than the one before."""


class Blocks:
    """The decoder blocks of a model. Hooks on them, which read states, are called once, however they are run.

    With `compiled`, each is compiled by torch.compile at its first use, for any batch and length: what follows it runs
    in fewer kernels.
    """

    def __init__(self, model: VisionLanguageModel, compiled: bool = False) -> None:
        self._blocks = list(model.layers)
        forwards: list[Callable[..., Any]] = [block.forward for block in self._blocks]
        self._forwards = [torch.compile(each, dynamic=True) for each in forwards] if compiled else forwards
        self.failures: tuple[type[Exception], ...] = ()
        """What a compiler that fails raises when they are run."""
        if compiled:
            from torch._dynamo.exc import TorchDynamoException  # it takes a second to import

            self.failures = (TorchDynamoException,)

    @contextmanager
    def run(self, recomputed: float = 0.0) -> Iterator[None]:
        """Run them so in the forward passes of a `with` block, and in the backward passes of what these gave.

        Of a share of them, evenly spread, only the inputs are kept for the backward pass, which computes the rest again
        (activation checkpointing, Chen et al. 2016). Blocks of frozen weights cost a forward pass each way, so that a
        share of 1 takes half as much time again.
        """
        own = [vars(block).get("forward") for block in self._blocks]
        for number, (block, forward) in enumerate(zip(self._blocks, self._forwards, strict=True)):
            again = int((number + 1) * recomputed) > int(number * recomputed)
            # Not by transformers' gradient_checkpointing: in some of its versions the hooks run twice with it, and a
            # hook that ends the pass at a layer would end the backward pass.
            kept = partial(checkpoint, forward, use_reentrant=False, preserve_rng_state=False) if again else forward
            block.forward = kept
        try:
            yield
        finally:
            for block, before in zip(self._blocks, own, strict=True):
                _restore(block, before)


def _restore(block: nn.Module, forward: Callable[..., Any] | None) -> None:
    """Give a block back the forward of its own, or that of its class."""
    if forward is None:
        del block.forward
    else:
        block.forward = forward
