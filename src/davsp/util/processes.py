"""Data parallelism: the processes that `accelerate launch` starts, each with the whole model and its share of the work.

Whatever the processes do together, every one of them does, in the same order; only the first writes files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from davsp.errors import DavspError

T = TypeVar("T")


class ProcessLost(DavspError):  # noqa: N818 - a signal as much as an error
    """Another process of this run ended before its work was done."""


@dataclass(frozen=True)
class Processes:
    """`count` processes, of which this one is number `rank`, from 0; `local_rank` counts those of this machine."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and speaks to the user."""
        return self.rank == 0

    def shard(self, items: Sequence[T]) -> Sequence[T]:
        """This process's share of a sequence that all of them have."""
        return items[self.rank :: self.count]

    def all_reduce(self, tensor: Tensor) -> None:
        """Add the tensors of all processes up, in place; all get the same sum. Raises ProcessLost."""
        if self.count > 1:
            with _collective():
                torch.distributed.all_reduce(tensor)

    def all_gather(self, own: Sequence[T]) -> list[T]:
        """The items of all processes, in the order of the sequence of which `shard` gave each its share.

        Raises ProcessLost.
        """
        if self.count == 1:
            return list(own)
        shares: list[Any] = [None] * self.count
        with _collective():
            torch.distributed.all_gather_object(shares, list(own))
        return [shares[i % self.count][i // self.count] for i in range(sum(map(len, shares)))]


@contextmanager
def _collective() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost(
            "another process of this run has ended. What was saved is sound: the same command goes on from it."
        ) from error


@cache
def processes() -> Processes:
    """The processes of this run: one, unless a launcher started more. The first call joins them."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    return Processes(state.process_index, state.num_processes, state.local_process_index)
