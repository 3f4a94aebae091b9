"""Which queries are chosen."""

from __future__ import annotations

from davsp.data.query import Query
from davsp.evaluation.plan import choose
from tests.evaluation.fakes import QUERIES, RED


def test_per_group_keeps_a_seeded_choice_of_every_group() -> None:
    choices = [[query.id for query in choose(QUERIES, per_group=1, seed=seed)] for seed in range(4)]
    assert all(len(choice) == 3 for choice in choices)
    assert len({*map(tuple, choices)}) > 1
    assert choices[0] == [query.id for query in choose(QUERIES, per_group=1, seed=0)]


def test_pairs_stay_together_in_every_choice() -> None:
    pairs = [Query(f"{i}", RED, "?", "Yes", group="count", metadata={"pair": f"count/{i // 2}.jpg"}) for i in range(10)]
    for per_group, limit in ((4, None), (1, None), (5, None), (None, 4), (None, 5), (None, 1), (6, 4)):
        kept = [int(query.id) for query in choose(pairs, per_group, limit)]
        assert len(kept) == max(2, min(per_group or 10, limit or 10) // 2 * 2)
        assert kept == sorted(kept) and all((number ^ 1) in kept for number in kept)


def test_a_limit_keeps_the_first_queries_of_what_was_drawn() -> None:
    assert [query.id for query in choose(QUERIES, limit=3)] == ["m1", "m2", "b1"]
