"""The paper's tables for any model: rows are defences, columns benchmarks, published values beside ours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

from davsp.benchmarks.base import Purpose
from davsp.evaluate.collect import Evaluation
from davsp.evaluate.rates import pooled
from davsp.evaluate.rows import too_many_unscored

OFFICIAL = {"mm_vet": ("total", 1), "mme": ("total", 1), "llava_bench": ("all", 1), "pope": ("f1", 100)}
"""The figure that stands for a benchmark's official score, and what it is multiplied with."""

_MEASURE_OF = {Purpose.SAFETY: "rsr", Purpose.USEFULNESS: "benign_accuracy", Purpose.OVER_REFUSAL: "over_refusal"}
_UNIT_OF = {"rsr": "RSR, %", "benign_accuracy": "right, %", "over_refusal": "refused, %"}


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
    """What is shown of one benchmark: a rate, or its official `figure` times `scale`. `asked` as in Evaluation.

    `paper`: which of the paper's columns it is, printed there with so many `decimals`.
    """

    title: str
    purpose: Purpose
    asked: tuple[object, ...]
    figure: str | None = None
    scale: float = 100
    paper: int | None = None
    decimals: int = 1

    @property
    def unit(self) -> str:
        """`RSR, %`, or `F1, %`; a score on a scale of its own is a `score`."""
        if self.figure is None:
            return _UNIT_OF[_MEASURE_OF[self.purpose]]
        return "F1, %" if self.figure == "f1" else "score"

    def read(self, evaluation: Evaluation, defence: str) -> Value | None:
        """The evaluation's value; None where this was not measured."""
        if self.figure is not None:
            found = evaluation.scores.get(defence, {}).get(self.figure)
            if found is None or not isfinite(found.value):
                return None
            ends = [self.scale * end if end is not None and isfinite(end) else None for end in (found.low, found.high)]
            return Value(self.scale * found.value, ends[0], ends[1], found.n)
        rate = pooled(list(evaluation.results["defences"][defence][_MEASURE_OF[self.purpose]].values()))
        if rate is None:
            return None
        if rate.rate is None or rate.low is None or rate.high is None:
            return Value(None, n=0, unscored=rate.unscored)
        return Value(100 * rate.rate, 100 * rate.low, 100 * rate.high, rate.n, rate.unscored)


@dataclass(frozen=True)
class Row:
    """A defence's values, one for every column; None is not measured."""

    defence: str
    published: bool
    values: tuple[Value | None, ...]


@dataclass(frozen=True)
class ModelTable:
    """All defences of one model under one judge. `warnings` are about what it must not be read as."""

    model: str
    judge: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...] = ()

    def purposes(self) -> list[tuple[Purpose, int]]:
        """The purposes of the columns in their order, and how many columns each has."""
        found = [column.purpose for column in self.columns]
        return [(purpose, found.count(purpose)) for purpose in Purpose if purpose in found]


def tables(evaluations: Sequence[Evaluation]) -> list[ModelTable]:
    """A table for every model and judge, in the order of the first of each; then the paper's of other models, where
    one of the paper's benchmarks was measured at all."""
    groups: dict[tuple[str, str], list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault((evaluation.model, evaluation.judge), []).append(evaluation)
    found = [_table(model, judge, group) for (model, judge), group in groups.items()]
    if not any(is_of_paper(evaluation) for evaluation in evaluations):
        return found
    beside = {published_model(model) for model, _ in groups}
    return [*found, *(_published_table(name) for name in published()["models"] if name not in beside)]


def is_of_paper(evaluation: Evaluation) -> bool:
    """Whether the benchmark and its variant fill a column of the paper's tables."""
    facts = evaluation.benchmark
    return facts is not None and any(
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


def runs_of(evaluations: Sequence[Evaluation]) -> dict[tuple[object, ...], list[Evaluation]]:
    """The evaluations by what they asked."""
    found: dict[tuple[object, ...], list[Evaluation]] = {}
    for evaluation in evaluations:
        found.setdefault(evaluation.asked, []).append(evaluation)
    return found


def combined(readings: Sequence[tuple[int, Value]]) -> Value | None:
    """One value of several runs, each with its seed. The same value of the same seed is one run."""
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


def _table(model: str, judge: str, group: Sequence[Evaluation]) -> ModelTable:
    runs = runs_of(group)
    columns = _columns(group, runs)
    names = list(dict.fromkeys(name for evaluation in group for name in evaluation.results["defences"]))
    beside = published_model(model) if any(map(is_of_paper, group)) else None
    rows = []
    for defence, values in (_published_rows(beside, columns) if beside else {}).items():
        rows += [_row(name, columns, runs) for name in names if _plain(name) == _plain(defence)]
        rows.append(Row(defence, True, values))
    placed = {row.defence for row in rows if not row.published}
    rows += [_row(name, columns, runs) for name in names if name not in placed]
    return ModelTable(model, judge, tuple(columns), tuple(rows), tuple(_warnings(group, columns, rows)))


def _row(defence: str, columns: Sequence[Column], runs: Mapping[tuple[object, ...], Sequence[Evaluation]]) -> Row:
    values = []
    for column in columns:
        having = [e for e in runs.get(column.asked, ()) if defence in e.results["defences"]]
        read = [(e.seed, value) for e in having if (value := column.read(e, defence)) is not None]
        values.append(combined(read))
    return Row(defence, False, tuple(values))


def _columns(group: Sequence[Evaluation], runs: Mapping[tuple[object, ...], Sequence[Evaluation]]) -> list[Column]:
    """The paper's columns, if one of them was measured, then ours; safety, usefulness, over-refusal."""
    columns = _paper_columns(runs) if any(map(is_of_paper, group)) else []
    taken = {(column.asked, column.purpose) for column in columns if _has_values(column, runs)}
    for asked, found in runs.items():
        facts = found[0].benchmark
        figure, scale = OFFICIAL.get(facts.name if facts else "", (None, 100))
        for purpose in Purpose:
            more = f" and {len(found) - 1} more" if len(found) > 1 and not facts else ""
            column = Column(found[0].title + more, purpose, asked)
            if purpose is Purpose.USEFULNESS and figure:
                official = replace(column, figure=figure, scale=scale)
                column = official if _has_values(official, runs) else column
            if (asked, purpose) not in taken and _has_values(column, runs):
                columns.append(column)
    return [column for purpose in Purpose for column in columns if column.purpose is purpose]


def _paper_columns(runs: Mapping[tuple[object, ...], Sequence[Evaluation]]) -> list[Column]:
    """Each of the variant that is nearest to the paper's of those that were asked."""
    columns = []
    for i, told in enumerate(published()["columns"]):
        usual, *_ = variants = told["variants"]
        asked = next(((told["benchmark"], v) for v in variants if (told["benchmark"], v) in runs), None)
        title = told["title"] if asked is None or asked[1] == usual else f"{told['title']}, {asked[1]}"
        figure, scale = OFFICIAL.get(told["benchmark"], (None, 100))
        purpose = Purpose.USEFULNESS if figure else Purpose.SAFETY
        columns.append(Column(title, purpose, asked or (), figure, scale, i, told["decimals"]))
    return columns


def _has_values(column: Column, runs: Mapping[tuple[object, ...], Sequence[Evaluation]]) -> bool:
    return any(
        column.read(evaluation, defence) is not None
        for evaluation in runs.get(column.asked, ())
        for defence in evaluation.results["defences"]
    )


def _published_rows(model: str, columns: Sequence[Column]) -> dict[str, tuple[Value | None, ...]]:
    """The paper's values by defence, under their columns."""
    found = {}
    for defence, values in published()["models"][model].items():
        under = [None if column.paper is None else values[column.paper] for column in columns]
        found[defence] = tuple(None if value is None else Value(value) for value in under)
    return found


def _published_table(model: str) -> ModelTable:
    columns = _paper_columns({})
    rows = [Row(defence, True, values) for defence, values in _published_rows(model, columns).items()]
    return ModelTable(f"{model}, published", "a language model", tuple(columns), tuple(rows))


def _warnings(group: Sequence[Evaluation], columns: Sequence[Column], rows: Sequence[Row]) -> Iterator[str]:
    measured = {c.purpose for i, c in enumerate(columns) for row in rows if not row.published and row.values[i]}
    if Purpose.SAFETY in measured:
        for purpose in (Purpose.USEFULNESS, Purpose.OVER_REFUSAL):
            if purpose not in measured:
                yield f"No {purpose} was measured: a model that refuses everything would look best here."
    for evaluation in group:
        for warning in too_many_unscored(evaluation.results):
            yield f"{evaluation.title}: {warning}"


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
