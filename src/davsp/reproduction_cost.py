"""What a table of the paper would cost: answers, calls of models elsewhere, hours, and money where prices are known."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from davsp.data.query import Query
from davsp.defences.adashield_refinement import AdaShieldAOptions
from davsp.evaluation.plan import choose, plan_of
from davsp.judges import Judge
from davsp.models.base import VisionLanguageModel
from davsp.reproduction import PROMPT, PaperData, Reproduction, check_complete
from davsp.training.jobs import dry_run
from davsp.training.vector import extract_vector

_FEW = 4
"""Queries of each side by which the time of a step is measured."""


class Prices(BaseModel):
    """What only the user knows; what is None is not reckoned, and said to be unknown."""

    model_config = ConfigDict(frozen=True)

    seconds_per_call: float | None = Field(None, ge=0, description="Of one call of the judge or the defender.")
    per_hour: float | None = Field(None, ge=0, description="Of this machine.")
    per_million_in: float | None = Field(None, ge=0, description="Of a million tokens that the judge reads.")
    per_million_out: float | None = Field(None, ge=0, description="Of a million tokens that the judge writes.")


def cost_of(plan: Reproduction, data: PaperData, judge: Judge, max_new_tokens: int) -> dict[str, Any]:
    """What a run would ask: queries, steps, answers, and the calls of models elsewhere; no time, which `time_of`
    measures, and no money, which `priced` reckons.

    The judge's calls are exact, its tokens estimated, those that it writes at most. AdaShield-A's defender is called at
    most as often as is said, and how many tokens it reads and writes is not known.
    """
    evaluations = {}
    judging = Counter(calls=0, tokens_in=0, tokens_out=0)
    for test in data.tests:
        queries = choose(test.queries, None, plan.limit, plan.seed)
        asked = plan_of(test.title, queries, plan.count, judge, max_new_tokens, test.benchmark)
        evaluations[test.key] = {"answers": len(queries) * plan.count, "cost": str(asked)}
        for cost in asked.costs:
            judging.update(calls=cost.calls, tokens_in=cost.tokens_in, tokens_out=cost.tokens_out)
    fitting = {kind: getattr(options, "steps", None) for kind, options in plan.fitted.items()}
    return {
        "table": plan.table,
        "missing": list(data.missing),
        "queries": {"training": len(data.training), "validation": len(data.checks)},
        "steps": fitting | ({PROMPT: plan.config.steps} if plan.config else {}),
        "defences": ["none", *plan.further, *plan.fitted, *([PROMPT] if plan.config else [])],
        "evaluations": evaluations,
        "judge": dict(judging),
        "defender": {"calls": _defender_calls(plan, data)},
    }


def priced(cost: Mapping[str, Any], seconds: Mapping[str, float], plan: Reproduction, prices: Prices) -> dict[str, Any]:
    """Hours and money of what `cost_of` and `time_of` found, None where a price or a time is not known; "unknown" has a
    line for each such, and for what is in no sum.

    Calls are taken one after another; asked several at a time, as they are, they take less.
    """
    judge, calls = cost["judge"], cost["judge"]["calls"] + cost["defender"]["calls"]
    unknown = [f"the time that fitting {kind} takes: it is in no sum" for kind in plan.fitted]
    if cost["defender"]["calls"]:
        unknown.append("the tokens of AdaShield-A's defender: they are in no sum")

    def known(value: float | None, what: str) -> float | None:
        if value is None:
            unknown.append(what)
        return value

    machine = sum(seconds.values()) / 3600
    waiting = known(prices.seconds_per_call, "the time of calls: give --seconds-per-call") if calls else 0.0
    hourly = known(prices.per_hour, "the price of this machine: give --price-per-hour")
    read = known(prices.per_million_in, "the price of tokens read: give --price-in") if judge["calls"] else 0.0
    wrote = known(prices.per_million_out, "the price of tokens written: give --price-out") if judge["calls"] else 0.0
    called = None if waiting is None else calls * waiting / 3600
    # The machine stands idle, and is paid, while it waits for the judge.
    rent = None if hourly is None or called is None else hourly * (machine + called)
    tokens = None if read is None or wrote is None else (judge["tokens_in"] * read + judge["tokens_out"] * wrote) / 1e6
    whole = None if rent is None or tokens is None else rent + tokens
    return {
        "hours": {"machine": round(machine, 3), "calls": _rounded(called)},
        "money": {"machine": _rounded(rent), "judge": _rounded(tokens), "all": _rounded(whole)},
        "unknown": unknown,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _defender_calls(plan: Reproduction, data: PaperData) -> int:
    """How often AdaShield-A's defender is asked at most."""
    options = plan.fitted.get("adashield-a")
    if not isinstance(options, AdaShieldAOptions):
        return 0
    scenarios = Counter(query.group for query in data.training if query.malicious)
    return options.rounds * sum(min(n, options.queries_per_scenario) for n in scenarios.values())


def time_of(
    model: VisionLanguageModel, plan: Reproduction, data: PaperData, batch_size: int, max_new_tokens: int
) -> dict[str, float]:
    """Seconds, from a few queries on this machine: of the vector and the prompt's training, and of all answers where
    each takes as long as an undefended one. What is fitted is not timed."""
    check_complete(data)
    seconds = {}
    asked = [choose(test.queries, None, plan.limit, plan.seed) for test in data.tests]
    batch = asked[0][:batch_size]
    _seconds_each(model, batch, 1)  # what a model does but once is not counted
    if plan.config:
        read = len(data.training) + len(data.checks)
        seconds["vector"] = read * _seconds_each(model, batch, 1)
        few, checks = _few(data.training), _few(data.checks)
        vector = extract_vector(model, few, checks, prefix=plan.config.prefix, layer=plan.config.layer)
        described = dry_run([(model, vector)], plan.config, few, data.checks)
        seconds["training"] = described["seconds"]["whole_run"]
    seconds["answers"] = sum(map(len, asked)) * plan.count * _seconds_each(model, batch, max_new_tokens)
    return {name: round(value, 1) for name, value in seconds.items()}


def _seconds_each(model: VisionLanguageModel, batch: Sequence[Query], tokens: int) -> float:
    """Seconds of answering one of these queries undefended, with so many new tokens."""
    begun = time.perf_counter()
    model.generate(batch, tokens)
    return (time.perf_counter() - begun) / len(batch)


def _few(queries: Sequence[Query]) -> list[Query]:
    return [query for side in (True, False) for query in [q for q in queries if q.malicious is side][:_FEW]]
