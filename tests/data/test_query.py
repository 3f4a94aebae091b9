"""Queries that are divided, and queries that are written and read again."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from davsp.data.folder import save_queries
from davsp.data.query import REFERENCE, REQUEST, Query, split_queries
from davsp.data.readers import read_queries

RED = Image.new("RGB", (40, 30), "red")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_request_that_several_groups_have_is_in_one_part(seed: int) -> None:
    queries = [
        Query(f"{kind}-{i}", RED, "do it", malicious=i % 2 == 0, group=kind, metadata={REQUEST: f"request {i}"})
        for kind in ("list", "page", "caption")
        for i in range(20)
    ]
    training, held_out = split_queries(queries, 0.2, seed)
    assert [q for q in queries if q in training or q in held_out] == queries
    assert not {q.metadata[REQUEST] for q in training} & {q.metadata[REQUEST] for q in held_out}
    for kind in ("list", "page", "caption"):
        assert [sum(q.malicious is side and q.group == kind for q in held_out) for side in (True, False)] == [2, 2]


def test_a_reference_that_no_answer_is_compared_with_stays_none_when_it_is_written(tmp_path: Path) -> None:
    query = Query("q", RED, "how many ?", answer="14").without_answer()
    save_queries([query], tmp_path / "saved")
    [read] = read_queries(tmp_path / "saved" / "queries.jsonl").queries
    assert read.answer is None and read.metadata[REFERENCE] == "14"
