"""Garbage collection beside a large heap."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heap_set_aside() -> Iterator[None]:
    """Leave what is in memory now out of garbage collections, for work that makes many objects beside many others.

    Models and the packages that define them are millions of objects, and Python walks them all again and again while
    others come and go: a third of the time that Inspect spends on a query.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
