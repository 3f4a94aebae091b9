"""Benchmarks as training data: what may be trained on, what must be known of it, and what is held out of it."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from davsp.benchmarks import BENCHMARKS
from davsp.benchmarks.selection import BenchmarkSelection, divided
from davsp.data.query import REQUEST, Query
from davsp.errors import InputError


def select_for_training(names: Sequence[str]) -> list[BenchmarkSelection]:
    """The benchmarks of these names, as BenchmarkSelection.named reads them.

    Raises InputError for one that must not be trained on, one that is named twice, and as `named` does.
    """
    for name in names:
        benchmark = BENCHMARKS.get(divided(name)[0])
        if benchmark.untrainable:
            raise InputError(
                f"{benchmark.title} is for evaluation only: {benchmark.untrainable}. "
                "Train on other queries, and measure on these with `davsp evaluate --benchmark`."
            )
    chosen = [BenchmarkSelection.named(name) for name in names]
    keys = [selection.key for selection in chosen]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise InputError(f"the benchmark {twice} is named twice: train on it once.")
    return chosen


def training_remarks(selection: BenchmarkSelection) -> Iterator[str]:
    """What a user must know before training on it: the licence, what is left to be measured on, and what is not there
    of it."""
    yield f"{selection.title}: {len(selection.loaded.queries)} queries. Licence: {selection.benchmark.licence}."
    rest = selection.benchmark.variants[selection.variant].rest
    if rest is None:
        yield f"{selection.title}: what is trained on it cannot be measured on these queries again."
    else:
        yield f"{selection.title}: measure on the rest of it, --benchmark {selection.benchmark.name}:{rest}."
    yield from selection.remarks()


def training_queries(chosen: Sequence[BenchmarkSelection], share: float, seed: int) -> tuple[list[Query], list[Query]]:
    """Training and validation queries of benchmarks, with the answers that these bring.

    Validation gets `share` of each group of malicious and of benign queries, drawn by `seed`. Queries of one request,
    or, where that is not known, of one image, are together in one of the two. A query's id begins with that of its
    benchmark and variant. Raises InputError where malicious or benign queries are too few to be divided.
    """
    units = _units(chosen)
    groups: dict[tuple[bool, str], list[list[Query]]] = {}
    for unit in units:
        groups.setdefault((unit[0].malicious, unit[0].group), []).append(unit)
    rng = random.Random(seed)  # noqa: S311 - a choice of samples, no secret
    held_out: set[str] = set()
    for malicious in (True, False):
        members = [group for (side, _), group in groups.items() if side is malicious]
        divisible = [group for group in members if len(group) > 1] or [[unit for group in members for unit in group]]
        for group in divisible if members else []:
            if len(group) < 2:
                raise InputError(
                    f"{'malicious' if malicious else 'benign'} queries of a single request or image "
                    f"({group[0][0].id!r}) cannot be divided into those to train and those to validate on: name more "
                    "benchmarks, or validation queries of their own (--validation)."
                )
            drawn = rng.sample(group, max(1, round(share * len(group))))
            held_out |= {query.id for unit in drawn for query in unit}
    queries = [query for selection in chosen for query in named_queries(selection)]
    return [q for q in queries if q.id not in held_out], [q for q in queries if q.id in held_out]


def named_queries(selection: BenchmarkSelection) -> list[Query]:
    """Its queries with their answers, under ids that no other benchmark's have."""
    return [replace(query, id=f"{selection.key}/{query.id}") for query in selection.loaded.queries]


def _units(chosen: Sequence[BenchmarkSelection]) -> list[list[Query]]:
    """The queries that must not be divided, each time together: those of a benchmark that ask for the same, or, where
    the request is not known, about the same image."""
    units: dict[Hashable, list[Query]] = {}
    for selection in chosen:
        for query in named_queries(selection):
            image = query.image if isinstance(query.image, Path | bytes) else query.id
            what = query.metadata.get(REQUEST) or image
            units.setdefault((selection.benchmark.name, query.malicious, what), []).append(query)
    return list(units.values())
