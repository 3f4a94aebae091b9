"""Where each defence of a model stands on all that was asked together: safety, usefulness, over-refusal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from davsp.benchmarks.base import Purpose
from davsp.report.collect import Evaluation
from davsp.report.plots import Point, Standing
from davsp.report.tables import ModelTable, Value, combined, runs_of, share


class Field(NamedTuple):
    """The defences of one model that can be drawn, what their usefulness is, and those that cannot be drawn."""

    standings: list[Standing]
    usefulness: str
    left_out: list[str]


def field_of(table: ModelTable, evaluations: Sequence[Evaluation]) -> Field:
    """Every defence over all evaluations of the table's model, each query counting once.

    Usefulness is the share of benign queries answered right; where none has a right answer, the first official score.
    A defence that was not asked everything that another was is left out: its figures would be of other queries.
    """
    group = [evaluation for evaluation in evaluations if evaluation.model == table.model]
    names = [row.defence for row in table.rows if not row.published]
    right = {name: overall(group, name, "benign_accuracy") for name in names}
    label, useful = "benign queries answered right, % (higher is better)", right
    if not any(right.values()):
        label, useful = _official(table)
    standings = []
    for name in names:
        safety, usefulness = _point(overall(group, name, "rsr")), _point(useful.get(name))
        over_refusal = _point(overall(group, name, "over_refusal"))
        if safety and (usefulness or (over_refusal and not any(useful.values()))):
            standings.append(Standing(name, safety, usefulness, over_refusal))
    drawn = {standing.defence for standing in standings}
    return Field(standings, label, [name for name in names if name not in drawn] if drawn else [])


def overall(group: Sequence[Evaluation], defence: str, measure: str) -> Value | None:
    """A measure over all that was asked, of the seeds with which all of it was asked; None where there are none."""

    def asks(evaluation: Evaluation) -> bool:
        return any(rates[measure] for rates in evaluation.results["defences"].values())

    asked = [runs for runs in runs_of(_each_once(group)) if any(map(asks, runs))]
    readings = []
    for seed in dict.fromkeys(evaluation.seed for evaluation in group):
        having = [[e for e in runs if e.seed == seed and defence in e.results["defences"]] for runs in asked]
        told = [rate for found in having if found for rate in found[0].results["defences"][defence][measure].values()]
        value = share(told)
        if all(having) and value is not None and value.value is not None:
            readings.append((seed, value))
    return combined(readings)


def _each_once(group: Sequence[Evaluation]) -> list[Evaluation]:
    """The evaluations without those that ask the same again: by another judge, or fewer queries of a benchmark."""
    judge: dict[object, str] = {}
    most: dict[object, int] = {}
    for e in group:
        judge.setdefault(e.source or e.asked, e.judge)
        most[e.source] = max(e.results["queries"], most.get(e.source, 0))
    return [
        e
        for e in group
        if e.judge == judge[e.source or e.asked] and (e.source is None or e.results["queries"] == most[e.source])
    ]


def _official(table: ModelTable) -> tuple[str, dict[str, Value | None]]:
    """The first usefulness column with measured values: its label, and the values by defence."""
    rows = [row for row in table.rows if not row.published]
    for i, column in enumerate(table.columns):
        if column.purpose is Purpose.USEFULNESS and any(row.values[i] for row in rows):
            return f"{column.title}, {column.unit} (higher is better)", {row.defence: row.values[i] for row in rows}
    return "", {}


def _point(value: Value | None) -> Point | None:
    if value is None or value.value is None or value.low is None or value.high is None:
        return None
    return Point(value.value, value.low, value.high)
