"""Tables, rates and comparisons as CSV, for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from davsp.rates import Measure
from davsp.report.collect import Evaluation
from davsp.report.significance import Family
from davsp.report.tables import Column, ModelTable, Value


def tables_csv(tables: Sequence[ModelTable]) -> str:
    """The rows of all tables: for every column its value, the ends of its interval, n, unscored and runs."""
    names = list(dict.fromkeys(_name(column) for table in tables for column in table.columns))
    fields = asdict(Value(None))
    header = ["model", "judge", "defence", "source", *(f"{name}: {field}" for name in names for field in fields)]
    lines = []
    for table in tables:
        for row in table.rows:
            line: dict[str, Any] = {"model": table.model, "judge": table.judge, "defence": row.defence}
            line["source"] = "published" if row.published else "measured"
            for column, value in zip(table.columns, row.values, strict=True):
                if value is not None:
                    known = {"value": value.value} if row.published else asdict(value)
                    line |= {f"{_name(column)}: {field}": number for field, number in known.items()}
            lines.append(line)
    return _csv(header, lines)


def scenarios_csv(evaluations: Sequence[Evaluation]) -> str:
    """Every rate and mean F1 of every group, and every official figure, one a line. Rates are shares in 0..1."""
    header = ["model", "judge", "folder", "benchmark", "seed", "defence", "measure", "group", "value", "low", "high"]
    return _csv([*header, "n", "unscored", "blocked"], [line for e in evaluations for line in _scenarios(e)])


def significance_csv(families: Sequence[Family]) -> str:
    """Every comparison, one a line."""
    header = ["model", "judge", "queries", "measure", "first", "second", "only_first", "only_second", "n"]
    lines = [
        {"model": family.model, "judge": family.judge, "queries": family.title, **asdict(comparison)}
        for family in families
        for comparison in family.comparisons
    ]
    return _csv([*header, "left_out", "p", "corrected"], lines)


def _scenarios(evaluation: Evaluation) -> Iterator[Mapping[str, Any]]:
    of_evaluation = {
        "model": evaluation.model,
        "judge": evaluation.judge,
        "folder": str(evaluation.folder),
        "benchmark": evaluation.title,
        "seed": evaluation.seed,
    }
    for defence, rates in evaluation.results.defences.items():
        of_defence = of_evaluation | {"defence": defence}
        for measure in Measure:
            for kind, rate in rates[measure].items():
                numbers = {"value": rate.rate, "low": rate.low, "high": rate.high, "n": rate.n}
                aside = {"unscored": rate.unscored, "blocked": rate.blocked}
                yield of_defence | {"measure": measure, "group": kind, **numbers, **aside}
        for measured, figures in (("token_f1", rates.token_f1), ("score", evaluation.results.scores.get(defence, {}))):
            for name, figure in figures.items():
                numbers = {"value": figure.value, "low": figure.low, "high": figure.high, "n": figure.n}
                yield of_defence | {"measure": measured, "group": name, **numbers}


def _csv(header: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def _name(column: Column) -> str:
    return f"{column.title} ({column.unit})"
