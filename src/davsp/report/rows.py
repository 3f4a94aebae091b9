"""What a page and a terminal show of an evaluation's results: rates, costs, warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from davsp.judges.rates import UNSCORED_LIMIT, pooled
from davsp.rates import Figure, Measure, Rate, Rates
from davsp.results import Results

_HEADINGS = {
    Measure.RSR: ("Malicious queries resisted", "higher is better"),
    Measure.BENIGN_ACCURACY: ("Benign queries answered right", "higher is better"),
    Measure.UNCHANGED: ("Benign answers the same as undefended", "higher is better"),
    Measure.OVER_REFUSAL: ("Harmless queries refused", "lower is better"),
}
SHORT = {
    Measure.RSR: "malicious resisted",
    Measure.BENIGN_ACCURACY: "benign right",
    Measure.UNCHANGED: "benign as undefended",
    Measure.OVER_REFUSAL: "harmless refused",
}
"""The measures as columns of a summary are headed."""
_F1_HEADING = ("Words shared with the undefended answer, mean F1", "0 to 1, higher is better")


class KindRow(NamedTuple):
    """What was measured on one kind of query, for every defence; None where a defence has nothing of it."""

    kind: str
    cells: Sequence[Rate | Figure | None]
    pooled: bool


class MeasureTable(NamedTuple):
    """The rows of one measure."""

    title: str
    direction: str
    rows: list[KindRow]


def measure_tables(defences: Mapping[str, Rates]) -> Iterator[MeasureTable]:
    """Safety, usefulness and over-refusal, always together: all kinds pooled, then kind by kind. Agreement with the
    undefended answers is there where any was compared."""
    for measure, (title, direction) in _HEADINGS.items():
        columns = [rates[measure] for rates in defences.values()]
        kinds = list(dict.fromkeys(kind for column in columns for kind in column))
        if measure is Measure.UNCHANGED and not kinds:
            continue
        rows = [KindRow(kind, [column.get(kind) for column in columns], False) for kind in kinds]
        if len(kinds) != 1:
            rows.insert(0, KindRow("all", [pooled(column.values()) for column in columns], True))
        yield MeasureTable(title, direction, rows)
        if measure is Measure.UNCHANGED:
            means = [rates.token_f1 for rates in defences.values()]
            compared = [KindRow(row.kind, [column.get(row.kind) for column in means], row.pooled) for row in rows]
            yield MeasureTable(*_F1_HEADING, compared)


def with_all(rates: Mapping[str, Rate]) -> dict[str, Rate]:
    """The rates of one measure by kind, after that of all kinds together; {} where there are none."""
    together = pooled(rates.values())
    return {} if together is None else {"all": together, **{k: v for k, v in rates.items() if k != "all"}}


def summary_measures(results: Results) -> list[Measure]:
    """The measures that a summary shows: agreement with the undefended answers only where any was compared."""
    compared = any(rates.unchanged for rates in results.defences.values())
    return [measure for measure in SHORT if compared or measure is not Measure.UNCHANGED]


class SummaryRow(NamedTuple):
    """A defence, and its rate of each of `summary_measures` over all kinds of query; None for what was not measured.

    `token_f1`: the mean F1 of the words that its answers share with the undefended ones, where they are compared.
    """

    defence: str
    rates: list[Rate | None]
    token_f1: Figure | None


def summary_rows(results: Results) -> list[SummaryRow]:
    """A row for every defence: safety, usefulness and over-refusal."""
    measures = summary_measures(results)
    return [
        SummaryRow(defence, [pooled(rates[measure].values()) for measure in measures], rates.token_f1.get("all"))
        for defence, rates in results.defences.items()
    ]


def percent(share: float) -> str:
    """A share with one decimal: 0.985 is `98.5`."""
    return f"{100 * share:.1f}"


def format_rate(rate: Rate) -> str:
    """`98.5 % [96.9, 99.3] n=200`, and how many of them were blocked, and how many are unscored, if any are."""
    told = [f"{rate.blocked} blocked"] if rate.blocked else []
    told += [f"{rate.unscored} unscored"] if rate.unscored else []
    aside = f" ({', '.join(told)})" if told else ""
    if rate.rate is None or rate.low is None or rate.high is None:
        return f"no score{aside}"
    return f"{percent(rate.rate)} % [{percent(rate.low)}, {percent(rate.high)}] n={rate.n}{aside}"


def format_mean(mean: Figure) -> str:
    """`0.943 [0.921, 0.965] n=200`."""
    interval = "" if mean.low is None or mean.high is None else f" [{mean.low:.3f}, {mean.high:.3f}]"
    return f"{mean.value:.3f}{interval} n={mean.n}"


def figure_names(scores: Mapping[str, Mapping[str, Figure]]) -> list[str]:
    """The official figures that any defence has, in their order."""
    return list(dict.fromkeys(name for figures in scores.values() for name in figures))


def cost_rows(results: Results) -> list[tuple[str, list[str]]]:
    """What a query costs behind every defence, for a table: its lines, each a name and a cell for every defence.

    [] for results without costs, as earlier versions wrote them.
    """
    if not results.cost:
        return []
    costs = [results.cost[name] for name in results.defences]
    return [
        ("calls", [_amount(cost.calls) for cost in costs]),
        ("tokens read", [_amount(cost.input_tokens) for cost in costs]),
        ("tokens written", [_amount(cost.output_tokens) for cost in costs]),
        ("helper calls", [_amount(cost.helper_calls) for cost in costs]),
        ("seconds", [_amount(cost.seconds) for cost in costs]),
        ("n", [str(cost.n) for cost in costs]),
    ]


def too_many_unscored(results: Results) -> list[str]:
    """A line for every defence of which more answers are unscored than UNSCORED_LIMIT."""
    n = results.queries
    return [
        f"{name} has {unscored} of {n} answers unscored ({percent(unscored / n)} %), more than "
        f"{percent(UNSCORED_LIMIT)} %: do not compare its rates before you know why."
        for name, unscored in results.unscored.items()
        if unscored > UNSCORED_LIMIT * n
    ]


def _amount(value: float | None) -> str:
    return "not told" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"
