"""Rates of defences as figures: dots with intervals, and safety against usefulness and over-refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from statistics import fmean
from typing import Any

from davsp.judges.rates import pooled
from davsp.rates import Measure, Rate, Rates
from davsp.report.pareto import DefencePoint, pareto_front
from davsp.report.plots import COLOURS, INK, SERIES, dress, new_figure, to_svg

_TITLES = {
    Measure.RSR: ("malicious\nresisted, %", COLOURS["malicious"]),
    Measure.BENIGN_ACCURACY: ("benign\nright, %", COLOURS["benign"]),
    Measure.UNCHANGED: ("benign as\nundefended, %", COLOURS["benign"]),
    Measure.OVER_REFUSAL: ("harmless\nrefused, %", COLOURS["harmless"]),
}
_MARKERS = "os^DvPX"
"""One fewer than there are colours, so that a defence's pair of both is its own."""
_FRONT_AXES = {
    "kept": "benign answers kept, %",
    "over_refusal": "harmless queries refused, % (lower is better)",
}


def draw_rates(defences: Mapping[str, Rates], kinds: Sequence[str] = ()) -> str:
    """A dot with its 95 % interval for every defence, and a panel for every measure: of all kinds of query taken
    together, or below each other of each of `kinds`."""
    measures = [measure for measure in Measure if any(rates[measure] for rates in defences.values())]
    if not measures:
        return ""
    parts: list[tuple[str, dict[str, dict[Measure, Rate | None]]]] = [
        (kind, {name: {m: rates[m].get(kind) for m in measures} for name, rates in defences.items()}) for kind in kinds
    ] or [("", {name: {m: pooled(rates[m].values()) for m in measures} for name, rates in defences.items()})]
    figure = new_figure((0.24 * len(defences) + 1.0) * len(parts))
    grid = figure.subplots(len(parts), len(measures), sharey=True, squeeze=False)
    names = [_shortened(name) for name in defences]
    for panels, (kind, rows) in zip(grid, parts, strict=True):
        for panel, measure in zip(panels, measures, strict=True):
            title, colour = _TITLES[measure]
            found = [(y, rate) for y, row in enumerate(rows.values()) if (rate := row[measure]) and rate.n]
            for y, rate in found:
                assert rate.rate is not None and rate.low is not None and rate.high is not None
                panel.plot([100 * rate.low, 100 * rate.high], [y, y], color=colour, linewidth=1.6, alpha=0.7)
                panel.plot(100 * rate.rate, y, color=colour, marker="o", markersize=5)
            panel.set(xlim=(-4, 104), xticks=[0, 50, 100], ylim=(len(names) - 0.4, -0.6))
            panel.set_yticks(range(len(names)), names)
            dress(panel)
            panel.tick_params(axis="y", length=0)
            panel.grid(axis="x", color=INK, alpha=0.15, linewidth=0.6)
            panel.set_title(title, loc="left", fontsize=10, color=INK)
            if not found:
                panel.text(50, len(names) / 2 - 0.5, "not measured", color=INK, fontsize=8, ha="center")
        if kind:
            panels[0].set_ylabel(_shortened(kind), color=INK, fontsize=10, weight="bold")
    what = "of every kind of query" if kinds else "of all queries"
    return to_svg(figure, f"Rates {what} by defence, with 95 % intervals. The table has the numbers.")


def draw_trade_off(defences: Sequence[DefencePoint], usefulness: str) -> str:
    """Safety against usefulness and against over-refusal, each where it was measured: a point for every defence.

    Crosses are 95 % intervals; the line joins the defences that no other beats in both. Names stand below, each with
    its colour and sign.
    """
    useful = [(d.defence, d.usefulness, d.safety) for d in defences if d.usefulness]
    refusing = [(d.defence, d.over_refusal, d.safety) for d in defences if d.over_refusal]
    possible = [
        (usefulness, useful, 1.0),
        ("harmless queries refused, % (lower is better)", refusing, -1.0),
    ]
    panels_of = [panel for panel in possible if panel[1]]
    figure = new_figure(height=2.8 * len(panels_of) + 0.25 * (len(defences) // 2 + 1))
    panels = figure.subplots(len(panels_of), 1, squeeze=False)[:, 0]
    looks = {d.defence: look for d, look in zip(defences, zip(cycle(SERIES), cycle(_MARKERS)), strict=False)}
    signs = {}
    front_name = "not beaten in both"
    for panel, (x_label, points, better) in zip(panels, panels_of, strict=True):
        front = sorted(pareto_front([(better * x.value, y.value) for _, x, y in points]), key=lambda i: points[i][1])
        corners = [(points[i][1].value, points[i][2].value) for i in front]
        (signs[front_name],) = panel.plot(
            *zip(*corners, strict=True), color=INK, linewidth=0.9, linestyle=":", zorder=1
        )
        for name, x, y in points:
            colour, marker = looks[name]
            panel.plot([x.low, x.high], [y.value, y.value], color=colour, linewidth=1.1)
            panel.plot([x.value, x.value], [y.low, y.high], color=colour, linewidth=1.1)
            (signs[name],) = panel.plot(x.value, y.value, color=colour, marker=marker, markersize=6.5, linestyle="none")
        panel.set_xlabel(x_label)
        panel.set_ylabel("malicious resisted, %")
        panel.margins(0.08)
        dress(panel)
    names = [_shortened(name) for name in signs]
    figure.legend(signs.values(), names, loc="outside lower left", ncols=2, frameon=False, fontsize=10, labelcolor=INK)
    return to_svg(figure, "Safety against usefulness and over-refusal, by defence")


def draw_front(records: Sequence[Mapping[str, Any]]) -> str:
    """The prompts that a training run validated: malicious queries refused against benign answers kept and against
    over-refusal, each where it was measured, a point for each with its step. Those that no other beats are filled.

    Of several models the means are drawn. Empty where fewer than two prompts were validated.
    """
    from davsp.training.front import figures, place

    validated = [{"step": r["step"], **r["validation"]} for r in records if "validation" in r]
    front = pareto_front([place(record) for record in validated])
    shown = [name for name in ("kept", "over_refusal") if all(figures(record, name) for record in validated)]
    if len(validated) < 2 or not shown or not all(figures(record, "refused") for record in validated):
        return ""
    drawn = new_figure(2.6 * len(shown))
    panels = drawn.subplots(len(shown), 1, squeeze=False)[:, 0]
    for panel, name in zip(panels, shown, strict=True):
        steps: dict[tuple[float, float], list[str]] = {}
        for i, record in enumerate(validated):
            at = (100 * fmean(figures(record, name)), 100 * fmean(figures(record, "refused")))
            inside = SERIES[0] if i in front else "none"
            panel.plot(*at, marker="o", markersize=6.5, color=SERIES[0], markerfacecolor=inside)
            steps.setdefault(at, []).append(str(record["step"]))
        for at, here in steps.items():
            panel.annotate(", ".join(here), at, (5, 3), textcoords="offset points", fontsize=9, color=INK)
        panel.set_xlabel(_FRONT_AXES[name])
        panel.set_ylabel("malicious refused, %")
        panel.margins(0.1)
        dress(panel)
    return to_svg(drawn, "Validated prompts by step: malicious queries refused, benign answers kept, over-refusal")


def _shortened(name: str) -> str:
    """At most 18 characters: the beginning and the end, which tell variants apart. Dollars would begin a formula."""
    short = name if len(name) <= 18 else f"{name[:10]}\N{HORIZONTAL ELLIPSIS}{name[-7:]}"
    return short.replace("$", r"\$")
