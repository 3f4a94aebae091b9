"""Figures of the report, as SVG that takes its text colour from the page."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from davsp.report.pareto import DefencePoint, pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#0a0b0c"
"""Stands for the page's text colour, whichever that is."""
COLOURS = {"malicious": "#d1495b", "benign": "#2e86ab"}
SERIES = ("#2e86ab", "#d1495b", "#c98a00", "#4c9f70", "#8b6fc0", "#808890", "#b5651d", "#2aa7a7")


def projection_histograms(projections: Mapping[str, Sequence[float]]) -> str:
    """One panel for every condition, in the order given, malicious and benign on a shared axis.

    `projections` maps "side/condition", such as "malicious/before", to one projection per query: the inner product of
    the hidden state of the last prompt token with the harmfulness direction.
    """
    conditions = list(dict.fromkeys(name.partition("/")[2] for name in projections))
    values = np.concatenate([np.asarray(v, dtype=float) for v in projections.values()])
    bins = np.linspace(values.min(), values.max(), 41) if np.ptp(values) else 10
    figure = _figure(height=2.3 * len(conditions))
    panels = figure.subplots(len(conditions), 1, sharex=True, squeeze=False)[:, 0]
    for panel, condition in zip(panels, conditions, strict=True):
        for side, colour in COLOURS.items():
            of_side = projections.get(f"{side}/{condition}", ())
            if len(of_side):
                panel.hist(of_side, bins=bins, color=colour, alpha=0.65, label=f"{side} (n={len(of_side)})")
        panel.set_ylabel("queries")
        _dress(panel, condition)
    panels[-1].set_xlabel("projection onto the harmfulness direction")
    return _svg(figure, "Projections of malicious and benign queries: " + ", ".join(conditions))


def training_curves(records: Sequence[Mapping[str, Any]]) -> str:
    """Losses, validation projections and validation shares over the steps of a training run.

    A record has `step` and named numbers, or a `validation` mapping of them. Of the former, those whose name
    holds "loss" are drawn; of the latter all but standard deviations (`..._std`).
    """
    panels_of: dict[str, dict[str, list[tuple[int, float]]]] = {}

    def add(title: str, name: str, step: int, value: float) -> None:
        panels_of.setdefault(title, {}).setdefault(name.replace("_", " "), []).append((step, value))

    for record in records:
        for name, value in _numbers(record):
            if "loss" in name:
                add("losses of the training batches", name, record["step"], value)
        for name, value in _numbers(record.get("validation", {})):
            if not name.endswith("_std"):
                title = "validation: projections" if "projection" in name else "validation: shares"
                add(title, name, record["step"], value)

    figure = _figure(height=2.4 * len(panels_of))
    panels = figure.subplots(len(panels_of), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (title, series) in zip(panels, panels_of.items(), strict=True):
        for (name, points), colour in zip(series.items(), cycle(SERIES), strict=False):
            steps, values = zip(*points, strict=True)
            marker = "o" if len(points) < 30 else None
            panel.plot(steps, values, color=colour, label=name, marker=marker, markersize=3, linewidth=1.2)
        _dress(panel, title)
    panels[-1].set_xlabel("step")
    return _svg(figure, "Training curves over the steps: " + ", ".join(panels_of))


def draw_trade_off(defences: Sequence[DefencePoint], usefulness: str) -> str:
    """Safety against usefulness and against over-refusal, each where it was measured: a point for every defence.

    Crosses are 95 % intervals; the line joins the defences that no other beats in both. Names stand in a column at the
    right, each tied to its point, so that none hides another.
    """
    useful = [(d.defence, d.usefulness, d.safety) for d in defences if d.usefulness]
    refusing = [(d.defence, d.over_refusal, d.safety) for d in defences if d.over_refusal]
    possible = [
        ("safety and usefulness", usefulness, useful, 1.0),
        ("safety and over-refusal", "harmless queries refused, % (lower is better)", refusing, -1.0),
    ]
    panels_of = [panel for panel in possible if panel[2]]
    height = max(2.4, 0.19 * len(defences) + 0.9)
    figure = _figure(height=height * len(panels_of))
    panels = figure.subplots(len(panels_of), 1, squeeze=False)[:, 0]
    colours = dict(zip((d.defence for d in defences), cycle(SERIES), strict=False))
    for panel, (title, x_label, points, better) in zip(panels, panels_of, strict=True):
        front = sorted(pareto_front([(better * x.value, y.value) for _, x, y in points]), key=lambda i: points[i][1])
        corners = [(points[i][1].value, points[i][2].value) for i in front]
        panel.plot(*zip(*corners, strict=True), color=INK, linewidth=0.8, linestyle=":", zorder=1, label="not beaten")
        for name, x, y in points:
            colour = colours[name]
            panel.plot([x.low, x.high], [y.value, y.value], color=colour, linewidth=1.1)
            panel.plot([x.value, x.value], [y.low, y.high], color=colour, linewidth=1.1)
            panel.plot(x.value, y.value, color=colour, marker="o", markersize=4.5)
        panel.set_xlabel(x_label)
        panel.set_ylabel("malicious queries resisted, %")
        panel.margins(0.08)
        _dress(panel, title)
        _name_points(panel, [(name, x.value, y.value, colours[name]) for name, x, y in points])
    return _svg(figure, "Safety against usefulness and over-refusal, by defence")


def _name_points(panel: Axes, points: Sequence[tuple[str, float, float, str]]) -> None:
    """Names at the right of the panel, spread where their points are too close, each with a line to its point."""
    low, high = panel.get_ylim()
    panel.set_ylim(low, high)
    order = sorted(points, key=lambda point: (point[2], -point[1]))
    step = min(0.085, 1 / max(1, len(order) - 1))
    places: list[float] = []
    for _, _, y, _ in order:
        places.append(max((y - low) / (high - low), places[-1] + step if places else 0.0))
    over = max(0.0, places[-1] - 1.0)
    for i in range(len(places) - 1, -1, -1):
        places[i] = min(places[i], 1.0 - (len(places) - 1 - i) * step) if over else places[i]
    for (name, x, y, colour), place in zip(order, places, strict=True):
        panel.annotate(
            name if len(name) <= 24 else name[:23] + "\N{HORIZONTAL ELLIPSIS}",
            xy=(x, y),
            xytext=(1.05, place),
            textcoords="axes fraction",
            verticalalignment="center",
            fontsize=8.5,
            color=INK,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3},
        )


def _numbers(record: Mapping[str, Any]) -> list[tuple[str, float]]:
    return [(name, value) for name, value in record.items() if isinstance(value, int | float)]


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(5.2, height), layout="constrained", facecolor="none")


def _dress(panel: Axes, title: str) -> None:
    """Page-coloured text and axes, no box; title and legend above the panel, where they hide nothing."""
    panel.set_facecolor("none")
    panel.tick_params(colors=INK, labelsize=9)
    for side, spine in panel.spines.items():
        spine.set_color(INK)
        spine.set_visible(side in ("left", "bottom"))
    for label in (panel.xaxis.label, panel.yaxis.label):
        label.set_color(INK)
        label.set_fontsize(9)
    legend = panel.legend(
        title=title,
        title_fontproperties={"size": 10, "weight": "bold"},
        alignment="left",
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.2,
        ncols=2,
        fontsize=9,
        frameon=False,
        labelcolor=INK,
    )
    legend.get_title().set_color(INK)


def _svg(figure: Figure, description: str) -> str:
    """The figure as an <svg> element for an HTML page: no XML header, no metadata, no address of any kind."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", svg, count=1)
    svg = re.sub(r'<svg([^>]*?) height="[^"]*"', r"<svg\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{description}"', 1).replace(INK, "currentColor")
