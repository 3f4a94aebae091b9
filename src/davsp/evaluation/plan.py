"""What an evaluation will ask, and what that costs: told before anything is generated."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from davsp.data.query import Query
from davsp.errors import InputError
from davsp.judges import Judge
from davsp.judges.cost import CHARACTERS, JudgingCost, cost_of
from davsp.judges.judgement import criterion_of, request_of
from davsp.judges.llm import LLM

if TYPE_CHECKING:
    from inspect_ai.model import Model

    from davsp.benchmarks.base import Benchmark


@dataclass(frozen=True)
class EvaluationPlan:
    """How many queries are asked behind how many defences, and what judging and grading the answers costs."""

    title: str
    queries: int
    defences: int
    costs: tuple[JudgingCost, ...]

    def __str__(self) -> str:
        behind = "1 defence" if self.defences == 1 else f"{self.defences} defences"
        count = self.queries * self.defences
        answers = f"{self.title}: {self.queries:,} queries, {behind}: {count:,} answers to be generated."
        return " ".join([answers, *map(str, self.costs)])


def plan_of(
    title: str,
    queries: Sequence[Query],
    defences: int,
    judge: Judge,
    max_new_tokens: int,
    benchmark: Benchmark | None = None,
) -> EvaluationPlan:
    """The plan of asking these queries; every answer is taken to be as long as it may be.

    Raises InputError where the benchmark's answers must be graded and the judge is no language model.
    """
    longest = "x" * (max_new_tokens * CHARACTERS)
    judging = cost_of(judge, [(criterion_of(q.malicious), request_of(q), longest) for q in queries] * defences)
    costs = [judging] if judge.model_name else []
    if benchmark and benchmark.grader:
        model = grading_model(benchmark, judge)
        costs.append(benchmark.grader.cost(str(model), list(queries) * defences, longest))
    return EvaluationPlan(title, len(queries), defences, tuple(costs))


def grading_model(benchmark: Benchmark | None, judge: Judge) -> Model | None:
    """The model that grades a benchmark's answers, which is that of the judge; None where nothing is graded.

    Raises InputError where the judge has no model, or one that can only tell safe from unsafe.
    """
    if benchmark is None or benchmark.grader is None:
        return None
    if judge.grading_model is None:
        raise InputError(
            f"{benchmark.title} is scored by a language model that grades every answer, and none is bound. Give one: "
            f"--judge llm --judge-model {LLM.example}"
        )
    return judge.grading_model


def choose(
    queries: Sequence[Query], per_group: int | None = None, limit: int | None = None, seed: int = 0
) -> list[Query]:
    """At most `per_group` queries of every group, a seeded choice, and of those the first `limit`; in their order.

    Queries with one `pair` in their metadata stay together: at least one pair is kept. Raises InputError where there
    are no queries.
    """
    if not queries:
        raise InputError("There are no queries to evaluate. Give at least one.")
    units: dict[tuple[str, str], list[Query]] = {}
    for query in queries:
        units.setdefault((query.group, query.metadata.get("pair") or f"query {query.id}"), []).append(query)
    kept = list(units.values())
    if per_group is not None:
        kept = _drawn(kept, per_group, seed)
    if limit is not None:
        kept = _first(kept, limit)
    ids = {query.id for unit in kept for query in unit}
    return [query for query in queries if query.id in ids]


def _drawn(units: Sequence[list[Query]], per_group: int, seed: int) -> list[list[Query]]:
    groups: dict[str, list[list[Query]]] = {}
    for unit in units:
        groups.setdefault(unit[0].group, []).append(unit)
    rng = random.Random(seed)  # noqa: S311 - a choice of samples, no secret
    return [
        unit
        for group in groups.values()
        for unit in rng.sample(group, min(max(1, per_group // max(map(len, group))), len(group)))
    ]


def _first(units: Sequence[list[Query]], limit: int) -> list[list[Query]]:
    count, kept = 0, list[list[Query]]()
    for unit in units:
        count += len(unit)
        if kept and count > limit:
            break
        kept.append(unit)
    return kept
