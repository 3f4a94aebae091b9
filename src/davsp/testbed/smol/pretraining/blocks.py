"""Blocks of layers, compiled where that works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Block = Callable[..., Tensor]


class Compiled:
    """A function of tensors, as it is until `compile` is called, and again once compiled code has failed."""

    def __init__(self, block: Block) -> None:
        self._plain = self._block = block

    def __call__(self, *arguments: Any) -> Tensor:
        return self._block(*arguments)

    def compile(self) -> None:
        """Compile it when it is next called, for the shapes that it is then called with."""
        self._block = torch.compile(self._plain, dynamic=False, fullgraph=True)

    def give_up(self) -> None:
        self._block = self._plain

    @property
    def is_compiled(self) -> bool:
        return self._block is not self._plain
