"""The paper's tables for any model: rows are defences, columns benchmarks, published values beside ours."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

from davsp.benchmarks import BENCHMARKS
from davsp.benchmarks.base import Headline, Purpose
from davsp.judges.rates import pooled
from davsp.rates import Measure, Rate, Rates
from davsp.report.collect import Evaluation
from davsp.report.rows import too_many_unscored

_MEASURE_OF = {
    Purpose.SAFETY: Measure.RSR,
    Purpose.USEFULNESS: Measure.BENIGN_ACCURACY,
    Purpose.OVER_REFUSAL: Measure.OVER_REFUSAL,
}
_UNIT_OF = {
    Measure.RSR: "RSR, %",
    Measure.BENIGN_ACCURACY: "right, %",
    Measure.UNCHANGED: "same as undefended, %",
    Measure.OVER_REFUSAL: "refused, %",
}


@dataclass(frozen=True)
class Value:
    """One number and its 95 % interval, on its column's scale; `value` is None where no answer could be scored.

    A published one has no `n`. Of several `runs`, `value` is their mean, `low` and `high` are the lowest and the
    highest end of their intervals, and `n` and `unscored` are sums.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    unscored: int = 0
    runs: int = 1


@dataclass(frozen=True)
class Column:
    """What is shown of one benchmark in its `runs`: a rate, or the `headline` of its official scores.

    The rate is that of its purpose, or of `unchanged` answers. `judge` is named where a table has several. `paper`:
    which of the paper's columns it is, printed there with so many `decimals`.
    """

    title: str
    purpose: Purpose
    runs: Sequence[Evaluation]
    judge: str = ""
    headline: Headline | None = None
    paper: int | None = None
    decimals: int = 1
    unchanged: bool = False

    @property
    def measure(self) -> Measure:
        """What its rates are of."""
        return Measure.UNCHANGED if self.unchanged else _MEASURE_OF[self.purpose]

    @property
    def unit(self) -> str:
        """`RSR, %`, or `F1, %, judged by rules`; a score on a scale of its own is a `score`."""
        unit = self.headline.unit if self.headline else _UNIT_OF[self.measure]
        return f"{unit}, judged by {self.judge}" if self.judge else unit

    @property
    def is_measured(self) -> bool:
        """Whether any defence has a value."""
        return any(self.value_of(name) is not None for run in self.runs for name in run.results.defences)

    def value_of(self, defence: str) -> Value | None:
        """The defence's value over all runs; None where this was not measured."""
        having = [run for run in self.runs if defence in run.results.defences]
        return combined(
            [(run.sample(defence), value) for run in having if (value := self._read(run, defence)) is not None]
        )

    def _read(self, run: Evaluation, defence: str) -> Value | None:
        if self.headline is not None:
            figure, scale = run.results.scores.get(defence, {}).get(self.headline.figure), self.headline.scale
            if figure is None or not isfinite(figure.value):
                return None
            ends = (figure.low, figure.high)
            low, high = (scale * end if end is not None and isfinite(end) else None for end in ends)
            return Value(scale * figure.value, low, high, figure.n)
        return share(run.results.defences[defence][self.measure].values())


@dataclass(frozen=True)
class TableRow:
    """A defence's values, one for every column; None is not measured."""

    defence: str
    published: bool
    values: tuple[Value | None, ...]


@dataclass(frozen=True)
class ModelTable:
    """All defences of one model. `judge` names its judges. `warnings` are about what it must not be read as."""

    model: str
    judge: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    warnings: tuple[str, ...] = ()

    def purposes(self) -> list[tuple[Purpose, int]]:
        """The purposes of the columns in their order, and how many columns each has."""
        purposes = [column.purpose for column in self.columns]
        return [(purpose, purposes.count(purpose)) for purpose in Purpose if purpose in purposes]


def tables(evaluations: Sequence[Evaluation]) -> list[ModelTable]:
    """A table for every model, in the order of the first of each; then the paper's of other models, where one of the
    paper's benchmarks was measured at all."""
    models = list(dict.fromkeys(evaluation.model for evaluation in evaluations))
    ours = [_table(model, [e for e in evaluations if e.model == model]) for model in models]
    if not any(map(is_of_paper, evaluations)):
        return ours
    beside = {published_model(model) for model in models}
    return [*ours, *(_published_table(name) for name in published()["models"] if name not in beside)]


def is_of_paper(evaluation: Evaluation) -> bool:
    """Whether the benchmark and its variant fill a column of the paper's tables, where no attack changed them."""
    facts = evaluation.benchmark
    if facts is None or evaluation.results.attack:
        return False
    return any(
        column["benchmark"] == facts.name and facts.variant in column["variants"] for column in published()["columns"]
    )


@cache
def published() -> Mapping[str, Any]:
    """The paper's tables: `source`, `columns`, and by model and defence a value for each column."""
    content: dict[str, Any] = json.loads((Path(__file__).parent / "published.json").read_text("utf-8"))
    return content


def published_model(model: str) -> str | None:
    """The model of the paper that a model's name names: `llava-hf/llava-1.5-13b-hf` is LLaVA-1.5-13B."""
    return next((name for name in published()["models"] if _plain(name) in _plain(model)), None)


def runs_of(evaluations: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """The evaluations that asked the same, judged and scored by the same, together."""
    runs: dict[tuple[object, ...], list[Evaluation]] = {}
    for evaluation in evaluations:
        runs.setdefault((*evaluation.query_set, evaluation.judge, evaluation.rules), []).append(evaluation)
    return list(runs.values())


def share(rates: Iterable[Rate]) -> Value | None:
    """Rates of several kinds taken together, in percent; None of none."""
    rate = pooled(rates)
    if rate is None:
        return None
    if rate.rate is None or rate.low is None or rate.high is None:
        return Value(None, n=0, unscored=rate.unscored)
    return Value(100 * rate.rate, 100 * rate.low, 100 * rate.high, rate.n, rate.unscored)


def combined(readings: Sequence[tuple[Hashable, Value]]) -> Value | None:
    """One value of several runs, each with its sample. The same value of the same sample is one run."""
    values = [value for _, value in dict.fromkeys(readings)]
    scored = [value for value in values if value.value is not None]
    if len(values) < 2 or not scored:
        return values[0] if values else None
    lows, highs = [v.low for v in scored], [v.high for v in scored]
    return Value(
        sum(value.value for value in scored if value.value is not None) / len(scored),
        min((low for low in lows if low is not None), default=None) if None not in lows else None,
        max((high for high in highs if high is not None), default=None) if None not in highs else None,
        sum(value.n or 0 for value in scored),
        sum(value.unscored for value in values),
        len(scored),
    )


def _table(model: str, group: Sequence[Evaluation]) -> ModelTable:
    columns = _columns(group)
    names = list(dict.fromkeys(name for evaluation in group for name in evaluation.results.defences))
    beside = published_model(model) if any(map(is_of_paper, group)) else None
    rows = []
    for defence, values in (_published_rows(beside, columns) if beside else {}).items():
        rows += [_row(name, columns) for name in names if _plain(name) == _plain(defence)]
        rows.append(TableRow(defence, True, values))
    placed = {row.defence for row in rows if not row.published}
    rows += [_row(name, columns) for name in names if name not in placed]
    judges = " and ".join(dict.fromkeys(evaluation.judge for evaluation in group))
    return ModelTable(model, judges, tuple(columns), tuple(rows), tuple(_warnings(group, columns)))


def _row(defence: str, columns: Sequence[Column]) -> TableRow:
    return TableRow(defence, False, tuple(column.value_of(defence) for column in columns))


def _columns(group: Sequence[Evaluation]) -> list[Column]:
    """The paper's columns, if one of them was measured, then ours; safety, usefulness, over-refusal."""
    columns = _paper_columns(group) if any(map(is_of_paper, group)) else []
    taken = [(column.runs, column.purpose) for column in columns if column.is_measured]
    for runs in runs_of(group):
        facts = runs[0].benchmark
        headline = _headline(facts.name) if facts else None
        more = f" and {len(runs) - 1} more" if len(runs) > 1 and not facts else ""
        for purpose in Purpose:
            column = Column(runs[0].title + more, purpose, runs, _judge_label(runs, group))
            if purpose is Purpose.USEFULNESS and headline:
                official = replace(column, headline=headline)
                column = official if official.is_measured else column
            if (runs, purpose) not in taken and column.is_measured:
                columns.append(column)
            if purpose is Purpose.USEFULNESS and column.headline is None:
                columns += [kept for kept in [replace(column, unchanged=True)] if kept.is_measured]
    return [column for purpose in Purpose for column in columns if column.purpose is purpose]


def _paper_columns(group: Sequence[Evaluation]) -> list[Column]:
    """Each of the variant that is nearest to the paper's of those that were asked, and of most queries."""
    columns = []
    for i, printed in enumerate(published()["columns"]):
        usual, *_ = variants = printed["variants"]
        candidates = [
            (variants.index(facts.variant), -runs[0].results.queries, n, runs)
            for n, runs in enumerate(runs_of([evaluation for evaluation in group if not evaluation.results.attack]))
            if (facts := runs[0].benchmark) and facts.name == printed["benchmark"] and facts.variant in variants
        ]
        runs = min(candidates)[-1] if candidates else []
        title = printed["title"] + (runs[0].part(usual) if runs else "")
        headline = _headline(printed["benchmark"])
        purpose = Purpose.USEFULNESS if headline else Purpose.SAFETY
        columns.append(Column(title, purpose, runs, _judge_label(runs, group), headline, i, printed["decimals"]))
    return columns


def _headline(benchmark: str) -> Headline | None:
    """The figure that stands for a benchmark; None for one whose rates do, and for one that is not installed."""
    return BENCHMARKS.get(benchmark).headline if benchmark in BENCHMARKS else None


def _judge_label(runs: Sequence[Evaluation], group: Sequence[Evaluation]) -> str:
    """The judge of these runs, if the model's others had another."""
    return runs[0].judge if runs and any(other.judge != runs[0].judge for other in group) else ""


def _published_rows(model: str, columns: Sequence[Column]) -> dict[str, tuple[Value | None, ...]]:
    """The paper's values by defence, under their columns."""
    rows = {}
    for defence, values in published()["models"][model].items():
        under = [None if column.paper is None else values[column.paper] for column in columns]
        rows[defence] = tuple(None if value is None else Value(value) for value in under)
    return rows


def _published_table(model: str) -> ModelTable:
    columns = _paper_columns([])
    rows = [TableRow(defence, True, values) for defence, values in _published_rows(model, columns).items()]
    return ModelTable(f"{model}, published", "a language model", tuple(columns), tuple(rows))


def _warnings(group: Sequence[Evaluation], columns: Sequence[Column]) -> Iterator[str]:
    measured = {column.purpose for column in columns if column.is_measured}
    if Purpose.SAFETY in measured:
        for purpose in (Purpose.USEFULNESS, Purpose.OVER_REFUSAL):
            if purpose not in measured:
                yield f"No {purpose} was measured: a model that refuses everything would look best here."
    for runs in runs_of(group):
        if len(limits := {run.results.max_new_tokens for run in runs}) > 1:
            allowed = " and ".join(map(str, sorted(limits)))
            yield f"{runs[0].title}: its runs were allowed {allowed} new tokens, and are one mean all the same."
        for name, seed in _conflicting(runs):
            yield (
                f"{runs[0].title}: {name} has different results of seed {seed}, and they are one mean all the same. "
                "Are they of one defence?"
            )
    for evaluation in group:
        for warning in too_many_unscored(evaluation.results):
            yield f"{evaluation.title}: {warning}"


def _conflicting(runs: Sequence[Evaluation]) -> list[tuple[str, int]]:
    """Defences, and seeds with which one name has different rates."""
    rates_of: dict[tuple[str, int], list[Rates]] = {}
    for run in runs:
        for name, rates in run.results.defences.items():
            rates_of.setdefault((name, run.seed), []).append(rates)
    return [key for key, rates in rates_of.items() if any(other != rates[0] for other in rates[1:])]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
