"""Sequences in batches, and batches made ahead."""

from __future__ import annotations

import pytest

from davsp.util.batching import batched, prefetched


def test_batches_keep_the_order_and_the_last_may_be_smaller() -> None:
    assert batched([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4], [5]]
    assert batched([], 2) == []
    assert batched(range(3), 5) == [range(3)]


def test_what_is_made_ahead_comes_in_order_and_its_error_with_it() -> None:
    made: list[int] = []

    def make(item: int) -> int:
        if item == 4:
            raise ValueError("four")
        made.append(item)
        return item * item

    assert list(prefetched(make, [1, 2, 3])) == [1, 4, 9]
    assert list(prefetched(make, [])) == []
    with pytest.raises(ValueError, match="four"):
        list(prefetched(make, [3, 4]))
