"""Safety against usefulness and over-refusal: each defence of a model on all that was asked, and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from davsp.rates import Measure
from davsp.report.collect import Evaluation
from davsp.report.tables import ModelTable, Value, combined, runs_of, share


class Estimate(NamedTuple):
    """A value and the ends of its interval, in percent or on a score's own scale."""

    value: float
    low: float
    high: float


class DefencePoint(NamedTuple):
    """A defence in the plane. Safety and over-refusal are in percent; None was not measured."""

    defence: str
    safety: Estimate
    usefulness: Estimate | None
    over_refusal: Estimate | None


class TradeOff(NamedTuple):
    """The defences of one model that can be drawn, what their usefulness is, and those that cannot be drawn."""

    points: list[DefencePoint]
    usefulness: str
    left_out: list[str]


def pareto_front(points: Sequence[tuple[float, ...]]) -> list[int]:
    """Which of the points are not beaten: no other is at least as high in all coordinates and higher in one."""

    def beats(other: tuple[float, ...], point: tuple[float, ...]) -> bool:
        return other != point and all(a >= b for a, b in zip(other, point, strict=True))

    return [i for i, point in enumerate(points) if not any(beats(other, point) for other in points)]


def trade_off_of(table: ModelTable, evaluations: Sequence[Evaluation]) -> TradeOff:
    """Every defence over all evaluations of the table's model, each query counting once.

    Usefulness is the share of benign queries answered right; where none has a right answer, the first official score,
    and where there is none, the share answered as undefended.
    A defence that was not asked everything that another was is left out: its figures would be of other queries.
    """
    group = [evaluation for evaluation in evaluations if evaluation.model == table.model]
    names = [row.defence for row in table.rows if not row.published]
    right = {name: overall(group, name, Measure.BENIGN_ACCURACY) for name in names}
    label, useful = "benign queries answered right, % (higher is better)", right
    if not any(right.values()):
        label, useful = _official(table)
    if not any(useful.values()):
        label = "benign answers the same as undefended, % (higher is better)"
        useful = {name: overall(group, name, Measure.UNCHANGED) for name in names}
    points = []
    for name in names:
        safety, usefulness = _estimate(overall(group, name, Measure.RSR)), _estimate(useful.get(name))
        over_refusal = _estimate(overall(group, name, Measure.OVER_REFUSAL))
        if safety and (usefulness or (over_refusal and not any(useful.values()))):
            points.append(DefencePoint(name, safety, usefulness, over_refusal))
    drawn = {point.defence for point in points}
    return TradeOff(points, label, [name for name in names if name not in drawn] if drawn else [])


def overall(group: Sequence[Evaluation], defence: str, measure: Measure) -> Value | None:
    """A measure over all that was asked, of the seeds with which all of it was asked; None where there are none."""

    def measures_it(evaluation: Evaluation) -> bool:
        return any(rates[measure] for rates in evaluation.results.defences.values())

    query_sets = [runs for runs in runs_of(_each_once(group)) if any(map(measures_it, runs))]
    readings = []
    for seed in dict.fromkeys(evaluation.seed for evaluation in group):
        of_seed = [[e for e in runs if e.seed == seed and defence in e.results.defences] for runs in query_sets]
        rates = [rate for runs in of_seed if runs for rate in runs[0].results.defences[defence][measure].values()]
        value = share(rates)
        if all(of_seed) and value is not None and value.value is not None:
            readings.append((tuple(runs[0].sample(defence) for runs in of_seed), value))
    return combined(readings)


def _each_once(group: Sequence[Evaluation]) -> list[Evaluation]:
    """The evaluations without those that ask the same again: by another judge, or fewer queries of a benchmark."""
    judge: dict[object, str] = {}
    most: dict[object, int] = {}
    for e in group:
        judge.setdefault(e.source or e.query_set, e.judge)
        most[e.source] = max(e.results.queries, most.get(e.source, 0))
    return [
        e
        for e in group
        if e.judge == judge[e.source or e.query_set] and (e.source is None or e.results.queries == most[e.source])
    ]


def _official(table: ModelTable) -> tuple[str, dict[str, Value | None]]:
    """The first official score with measured values: its label, and the values by defence."""
    rows = [row for row in table.rows if not row.published]
    for i, column in enumerate(table.columns):
        if column.headline and any(row.values[i] for row in rows):
            return f"{column.title}, {column.unit} (higher is better)", {row.defence: row.values[i] for row in rows}
    return "", {}


def _estimate(value: Value | None) -> Estimate | None:
    if value is None or value.value is None or value.low is None or value.high is None:
        return None
    return Estimate(value.value, value.low, value.high)
