"""Sequences in batches, and batches made ahead of their use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
S = TypeVar("S")


def batched(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """The items in their order, `size` at a time; the last are fewer if need be."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def prefetched(make: Callable[[T], S], items: Iterable[T]) -> Iterator[S]:
    """What `make` makes of each item, in order; a thread makes the next while the caller uses the last."""
    with ThreadPoolExecutor(1) as thread:
        coming: Future[S] | None = None
        for item in items:
            ready, coming = coming, thread.submit(make, item)
            if ready is not None:
                yield ready.result()
        if coming is not None:
            yield coming.result()
