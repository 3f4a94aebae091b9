"""Texts that say nearly the same, so that none of them is in one split and another in the next."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterable, Sequence

import numpy as np
import regex
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

ALIKE = 0.5
"""Two texts are near-duplicates where they share so much of the words of both (Jaccard's index): "write a tutorial on
how to bake bread" and "create a tutorial on how to bake bread" are, tutorials on other subjects are not."""
ENOUGH = 3
"""So many words of a text that are all in another make the two near-duplicates: one is the other and something more."""
LENGTHS_DIFFER = 0.1
"""Texts of a pair differ in length by no more than this share of the longer, or their looks would tell them apart."""
ROWS = 2048
"""Texts that are compared with all others at a time."""

# What has no spaces between words is compared by its characters.
_WORD = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]|\w+")
_SAY_LITTLE = frozenset(
    """
    a about an and are as at be been but by can could do does for from give had has have how i if in into is it its me
    my of on or our please s should so such t that the their them there these they this those to up us was we what when
    where which who will with would you your
    """.split()  # noqa: SIM905 - one word a line would be a page
)


def content_words(text: str) -> frozenset[str]:
    """The words of a text that say something, without case; all of them where none does."""
    words = frozenset(_WORD.findall(text.lower()))
    return words - _SAY_LITTLE or words


def near_duplicates(texts: Sequence[str]) -> list[int]:
    """A number for each text: the same for near-duplicates, and for near-duplicates of these."""
    rows, columns = [np.empty(0, int)], [np.empty(0, int)]
    for first, found in _alike(texts, texts):
        rows.append(first)
        columns.append(found)
    row, column = np.concatenate(rows), np.concatenate(columns)
    edges = coo_array((np.ones(len(row), bool), (row, column)), shape=(len(texts), len(texts)))
    _, labels = connected_components(edges, directed=False)
    return [int(label) for label in labels]


def without_duplicates_of(others: Sequence[str], texts: Sequence[str]) -> list[str]:
    """The texts that are no near-duplicate of any of `others`, in their order."""
    found = {int(row) for rows, _ in _alike(texts, others) for row in rows}
    return [text for i, text in enumerate(texts) if i not in found]


def divide(sides: Sequence[Sequence[str]], shares: Sequence[float], seed: int) -> list[list[list[str]]]:
    """The texts of each side, divided into parts of these shares: `[part][side]`. Near-duplicates, of both sides, are
    in one part; texts keep their order."""
    flat = [(side, text) for side, texts in enumerate(sides) for text in texts]
    groups: dict[int, list[tuple[int, str]]] = {}
    for label, entry in zip(near_duplicates([text for _, text in flat]), flat, strict=True):
        groups.setdefault(label, []).append(entry)
    order = list(groups.values())
    random.Random(seed).shuffle(order)  # noqa: S311 - a choice of samples, no secret
    wanted = [[share * len(texts) for texts in sides] for share in shares]
    part_of: dict[tuple[int, str], int] = {}
    for group in sorted(order, key=len, reverse=True):
        part = max(range(len(shares)), key=lambda p: sum(wanted[p][side] / len(sides[side]) for side, _ in group))
        for side, text in group:
            part_of[side, text] = part
            wanted[part][side] -= 1
    return [
        [[text for text in texts if part_of[side, text] == part] for side, texts in enumerate(sides)]
        for part in range(len(shares))
    ]


def paired(texts: Sequence[str], others: Sequence[str], seed: int) -> list[tuple[str, str]]:
    """Pairs of one text of each side, whose lengths differ by no more than LENGTHS_DIFFER, in a seeded order. Each text
    is in one pair at most, that with the nearest in length which is free."""
    few, many = (texts, others) if len(texts) <= len(others) else (others, texts)
    order = list(few)
    random.Random(seed).shuffle(order)  # noqa: S311 - a choice of samples, no secret
    free = sorted(many, key=lambda text: (len(text), text))
    lengths = [len(text) for text in free]
    pairs = []
    for text in order:
        at = bisect_left(lengths, len(text))
        if at == len(free) or (at and len(text) - lengths[at - 1] <= lengths[at] - len(text)):
            at -= 1
        if at < 0 or abs(len(text) - lengths[at]) > LENGTHS_DIFFER * max(len(text), lengths[at]):
            continue
        lengths.pop(at)
        pairs.append((text, free.pop(at)) if few is texts else (free.pop(at), text))
    return pairs


def _alike(texts: Sequence[str], others: Sequence[str]) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Which of the texts are near-duplicates of which others, a block at a time: two arrays of places."""
    words = [content_words(text) for text in texts]
    of_others = [content_words(text) for text in others]
    vocabulary = {word: i for i, word in enumerate(sorted(frozenset().union(*words, *of_others)))}
    right = _incidence(of_others, vocabulary)
    counts = right.sum(axis=1)
    for start in range(0, len(words), ROWS):
        left = _incidence(words[start : start + ROWS], vocabulary)
        shared = (left @ right.T).tocoo()
        row, column = shared.coords
        lefts, rights = left.sum(axis=1)[row], counts[column]
        within = (shared.data == np.minimum(lefts, rights)) & (shared.data >= ENOUGH)
        close = within | (shared.data / (lefts + rights - shared.data) >= ALIKE)
        yield row[close] + start, column[close]


def _incidence(words: Sequence[frozenset[str]], vocabulary: dict[str, int]) -> csr_array:
    """int32 (texts, vocabulary): 1 where a text has a word."""
    rows = np.repeat(np.arange(len(words)), [len(found) for found in words])
    columns = np.array([vocabulary[word] for found in words for word in sorted(found)], int)
    return csr_array((np.ones(len(rows), np.int32), (rows, columns)), shape=(len(words), len(vocabulary)))
