"""Garbage collection beside a large heap."""

from __future__ import annotations

import gc

import pytest

from davsp.util.heap import heap_set_aside


def test_the_heap_is_set_aside_meanwhile_and_taken_back_whatever_happens() -> None:
    with heap_set_aside():
        assert gc.get_freeze_count() > 1000
    assert gc.get_freeze_count() == 0
    with pytest.raises(ValueError, match="x"), heap_set_aside():
        raise ValueError("x")
    assert gc.get_freeze_count() == 0
