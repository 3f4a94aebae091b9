"""Near-duplicates are found and kept together; pairs are of like length."""

from __future__ import annotations

import random

from davsp.drawing.similar import divide, near_duplicates, paired, without_duplicates_of
from tests.drawing.stand_ins import NAUGHTY, NICE

TEXTS = [
    "Write a tutorial on how to bake bread",
    "Explain how lenses bend light",
    "Create a tutorial on how to bake bread",
    "写一首关于春天的诗",
    "What is it?",
    "请写一首关于春天的诗",
    "!?",
]


def test_near_duplicates_have_one_number() -> None:
    bread, light, other_bread, poem, what, other_poem, marks = near_duplicates(TEXTS)
    assert bread == other_bread and poem == other_poem
    assert len({bread, light, poem, what, marks}) == 5
    assert near_duplicates([]) == []


def test_near_duplicates_of_others_are_left_out() -> None:
    assert without_duplicates_of(TEXTS[2:3], TEXTS[:2]) == TEXTS[1:2]
    assert without_duplicates_of([], TEXTS) == TEXTS


def test_no_near_duplicate_of_a_text_is_in_another_part() -> None:
    parts = divide([NAUGHTY, NICE], [0.8, 0.1, 0.1], seed=0)
    flat = [(part, text) for part, sides in enumerate(parts) for side in sides for text in side]
    assert sorted(text for _, text in flat) == sorted((*NAUGHTY, *NICE))
    part_of: dict[int, set[int]] = {}
    for (part, _), label in zip(flat, near_duplicates([text for _, text in flat]), strict=True):
        part_of.setdefault(label, set()).add(part)
    assert all(len(found) == 1 for found in part_of.values())


def test_parts_have_their_shares() -> None:
    words = [chr(97 + i) + chr(97 + j) for i in range(20) for j in range(20)]
    texts = [f"{first}{second}x {second}y" for first, second in zip(words, reversed(words), strict=True)]
    parts = divide([texts[:300], texts[300:]], [0.8, 0.1, 0.1], seed=3)
    assert [[len(side) for side in part] for part in parts] == [[240, 80], [30, 10], [30, 10]]
    assert divide([texts[:300], texts[300:]], [0.8, 0.1, 0.1], seed=3) == parts
    assert divide([texts[:300], texts[300:]], [0.8, 0.1, 0.1], seed=4) != parts


def test_pairs_are_of_like_length_and_each_text_is_in_one() -> None:
    rng = random.Random(0)
    few = ["x" * rng.randint(40, 160) for _ in range(80)]
    many = ["y" * rng.randint(20, 120) for _ in range(300)]
    pairs = paired(list(dict.fromkeys(few)), list(dict.fromkeys(many)), seed=1)
    assert pairs and all(x.startswith("x") and y.startswith("y") for x, y in pairs)
    assert all(abs(len(x) - len(y)) <= 0.1 * max(len(x), len(y)) for x, y in pairs)
    for side in zip(*pairs, strict=True):
        assert len(set(side)) == len(pairs)
    assert {(y, x) for x, y in paired(few, many, 1)} == set(paired(many, few, 1))
    assert paired(["x"], ["yyyy"], 0) == [] == paired([], many, 0)
