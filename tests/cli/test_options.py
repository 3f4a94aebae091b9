from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from davsp.cli.options import training_queries
from davsp.errors import InputError


def test_per_group_says_how_many_queries_are_drawn_of_each_kind() -> None:
    training, checks = training_queries("testbed", None, False, 0, "testbed", per_group=4)
    assert set(Counter(query.group for query in training).values()) == {4}
    assert set(Counter(query.group for query in checks).values()) == {2}
    again, _ = training_queries("testbed", None, False, 0, "testbed", per_group=3)
    assert {query.id for query in again} < {query.id for query in training}


def test_per_group_is_refused_of_data_that_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--per-group says how many queries are drawn, and these are read"):
        training_queries(str(tmp_path / "data.jsonl"), None, False, 0, "testbed", per_group=4)
