"""An evaluation in sentences: what to beware of, what each defence does, and which is the best trade-off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from davsp.rates import Cost, Measure, Rate
from davsp.report.collect import Evaluation
from davsp.report.pareto import overall
from davsp.report.rows import percent, summary_measures, summary_rows, too_many_unscored
from davsp.report.significance import Family
from davsp.report.tables import ModelTable, Value
from davsp.results import UNDEFENDED, Results

FEW = 100
"""Below so many scored answers the 95 % interval of a share near one half is more than 19 points wide."""

_DOES = {
    Measure.RSR: "resisted {} of the malicious queries",
    Measure.BENIGN_ACCURACY: "answered {} of the benign ones right",
    Measure.UNCHANGED: "answered {} of the benign ones without a reference as undefended",
    Measure.OVER_REFUSAL: "refused {} of the harmless ones",
}
_ASKED = {
    Measure.RSR: "malicious",
    Measure.BENIGN_ACCURACY: "benign with a reference",
    Measure.UNCHANGED: "benign without a reference",
    Measure.OVER_REFUSAL: "harmless",
}


class Sentence(NamedTuple):
    """What was measured behind one defence: `resisted 98.9 % [94.0, 99.8] of the malicious queries, ...`."""

    defence: str
    text: str


def warnings_of(results: Results, *, judge_is_checked: bool = False) -> Iterator[str]:
    """What these results must not be read as: the gravest first. `judge_is_checked`: whether the page says how well
    the judge agrees with people."""
    yield from too_many_unscored(results)
    if n := sum(results.unscored.values()):
        yield (
            f"{n} {'answer is' if n == 1 else 'answers are'} unscored: the sample failed, the answer was empty, or the "
            "judge could not tell. They are in no rate. Read the logs before you compare defences."
        )
    measured: dict[Measure, int] = {}
    for row in summary_rows(results):
        for measure, rate in zip(summary_measures(results), row.rates, strict=True):
            if rate and rate.n:
                measured[measure] = min(rate.n, measured.get(measure, rate.n))
    if Measure.RSR in measured:
        if not measured.keys() & {Measure.BENIGN_ACCURACY, Measure.UNCHANGED}:
            yield "No usefulness was measured: a model that refuses everything would look best here."
        if Measure.OVER_REFUSAL not in measured:
            yield "No over-refusal was measured: a model that refuses everything would look best here."
    if few := [f"{n} {_ASKED[measure]}" for measure, n in measured.items() if n < FEW]:
        yield f"Few queries ({', '.join(few)}): differences within the intervals may be chance."
    if not judge_is_checked:
        yield (
            f"Nothing here says how well the judge ({results.judge}) agrees with people: measure it with `davsp judge "
            "validate`, and give what it prints to `davsp report --judge-validation`."
        )


def sentences(results: Results) -> list[Sentence]:
    """A sentence for every defence: safety, usefulness and over-refusal with their 95 % intervals, and the cost."""
    measures = summary_measures(results)
    found = []
    for row in summary_rows(results):
        told = [
            _DOES[measure].format(_share(rate))
            for measure, rate in zip(measures, row.rates, strict=True)
            if rate and rate.n and not (measure is Measure.UNCHANGED and row.defence == UNDEFENDED)
        ]
        if cost := _cost(results.cost.get(row.defence)):
            told.append(f"took {cost} a query")
        found.append(Sentence(row.defence, _listed(told) if told else "was not measured: no answer was scored"))
    return found


def sentences_of(table: ModelTable, evaluations: Sequence[Evaluation]) -> list[Sentence]:
    """The same of the defences of one model over all its evaluations, without costs, which differ by what was asked."""
    group = [evaluation for evaluation in evaluations if evaluation.model == table.model]
    found = []
    for row in table.rows:
        if row.published:
            continue
        told = [
            _DOES[measure].format(_value(value))
            for measure in Measure
            if (value := overall(group, row.defence, measure)) is not None
            and not (measure is Measure.UNCHANGED and row.defence == UNDEFENDED)
        ]
        found.append(Sentence(row.defence, _listed(told) if told else "was not asked all that others were"))
    return found


def best_trade_off_in(table: ModelTable, families: Sequence[Family]) -> str:
    """`best_trade_off` of the defences of one model."""
    names = [row.defence for row in table.rows if not row.published]
    return best_trade_off(names, [family for family in families if family.model == table.model])


def best_trade_off(defences: Iterable[str], families: Sequence[Family]) -> str:
    """The defences that no other beats on any measure by more than chance, in a sentence.

    `families`: the defences compared on the same queries; "" where there is nothing to compare.
    """
    comparisons = [comparison for family in families for comparison in family.comparisons]
    if not comparisons:
        return ""
    if len({comparison.measure for comparison in comparisons}) == 1:
        return "No best trade-off can be named: only one of safety, usefulness and over-refusal was measured."
    beaten = set()
    for comparison in comparisons:
        if comparison.is_significant:
            first_is_better = (comparison.only_first > comparison.only_second) != (
                comparison.measure is Measure.OVER_REFUSAL
            )
            beaten.add(comparison.second if first_is_better else comparison.first)
    best = [name for name in defences if name not in beaten]
    if not beaten:
        return "No best trade-off: on these queries no two defences differ on any measure by more than chance."
    if not best:
        return "No best trade-off: every defence is beaten by another on some measure by more than chance."
    if len(best) == 1:
        return f"Best trade-off: {best[0]}. No other beats it on any measure by more than chance."
    return (
        f"Best trade-offs: {_listed(best)}. No other beats them on any measure by more than chance, and these queries "
        "cannot tell them apart."
    )


def _share(rate: Rate) -> str:
    assert rate.rate is not None and rate.low is not None and rate.high is not None
    return f"{percent(rate.rate)}\N{NO-BREAK SPACE}% [{percent(rate.low)},\N{NO-BREAK SPACE}{percent(rate.high)}]"


def _value(value: Value) -> str:
    """The same of a value in percent."""
    if value.low is None or value.high is None:
        return f"{value.value:.1f}\N{NO-BREAK SPACE}%"
    return f"{value.value:.1f}\N{NO-BREAK SPACE}% [{value.low:.1f},\N{NO-BREAK SPACE}{value.high:.1f}]"


def _cost(cost: Cost | None) -> str:
    """`1 call and 643 tokens`, of what is known; "" of nothing."""
    if cost is None or cost.calls is None:
        return ""
    calls = "1 call" if cost.calls == 1 else f"{cost.calls:.3g} calls"
    if cost.input_tokens is None or cost.output_tokens is None:
        return calls
    return f"{calls} and {cost.input_tokens + cost.output_tokens:.0f} tokens"


def _listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
