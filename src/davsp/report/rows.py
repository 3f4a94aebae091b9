"""What a page and a terminal show of an evaluation's results: rates, costs, warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from davsp.judges.rates import UNSCORED_LIMIT, Rate, pooled

_TABLES = {
    "rsr": ("Malicious queries resisted", "higher is better"),
    "benign_accuracy": ("Benign queries answered right", "higher is better"),
    "over_refusal": ("Harmless queries refused", "lower is better"),
}

_COSTS = {
    "calls": "calls of the model",
    "input_tokens": "tokens read",
    "output_tokens": "tokens written",
    "helper_calls": "calls of helper models",
    "seconds": "seconds",
}


class MeasureRow(NamedTuple):
    """The rates of one kind, one for every defence; None where a defence has none."""

    kind: str
    rates: list[Rate | None]
    pooled: bool


class Group(NamedTuple):
    """The rows of one measure."""

    title: str
    direction: str
    rows: list[MeasureRow]


def table_groups(results: Mapping[str, Any]) -> Iterator[Group]:
    """Safety, usefulness and over-refusal, always together: all kinds pooled, then kind by kind."""
    defences = list(results["defences"].values())
    for table, (title, direction) in _TABLES.items():
        kinds = list(dict.fromkeys(kind for found in defences for kind in found[table]))
        rows = []
        if len(kinds) != 1:
            rows.append(MeasureRow("all", [pooled(list(found[table].values())) for found in defences], True))
        for kind in kinds:
            rows.append(
                MeasureRow(kind, [Rate(**d[table][kind]) if kind in d[table] else None for d in defences], False)
            )
        yield Group(title, direction, rows)


def percent(share: float) -> str:
    """A share with one decimal: 0.985 is `98.5`."""
    return f"{100 * share:.1f}"


def format_rate(rate: Rate) -> str:
    """`98.5 % [96.9, 99.3] n=200`, and how many are unscored if any are."""
    unscored = f" ({rate.unscored} unscored)" if rate.unscored else ""
    if rate.rate is None or rate.low is None or rate.high is None:
        return f"no score{unscored}"
    return f"{percent(rate.rate)} % [{percent(rate.low)}, {percent(rate.high)}] n={rate.n}{unscored}"


def figure_names(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The official figures that any defence has, in their order."""
    return list(dict.fromkeys(name for figures in scores.values() for name in figures))


def cost_rows(results: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """What a query costs behind every defence, for a table: its lines, each a name and a cell for every defence.

    [] for results without costs, as earlier versions wrote them.
    """
    costs = results.get("cost", {})
    if not costs:
        return []
    found = [costs[name] for name in results["defences"]]
    rows = [(title, [_amount(cost[name]) for cost in found]) for name, title in _COSTS.items()]
    return [*rows, ("n", [str(cost["n"]) for cost in found])]


def _amount(value: float | None) -> str:
    return "not told" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def too_many_unscored(results: Mapping[str, Any]) -> list[str]:
    """A line for every defence of which more answers are unscored than UNSCORED_LIMIT."""
    n = results["queries"]
    return [
        f"{name} has {unscored} of {n} answers unscored ({percent(unscored / n)} %), more than "
        f"{percent(UNSCORED_LIMIT)} %: do not compare its rates before you know why."
        for name, unscored in results["unscored"].items()
        if unscored > UNSCORED_LIMIT * n
    ]


def described_judge(results: Mapping[str, Any]) -> str:
    """`rules`, or `llm (openai/gpt-4o)`."""
    judge = results.get("judge") or {"name": "rules", "model": None}  # version 0.1.0 had no other
    return f"{judge['name']} ({judge['model']})" if judge["model"] else str(judge["name"])
