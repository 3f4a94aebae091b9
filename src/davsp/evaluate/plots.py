"""Figures of the report, as SVG that takes its text colour from the page."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#0a0b0c"
"""Stands for the page's text colour, whichever that is."""
COLOURS = {"malicious": "#d1495b", "benign": "#2e86ab"}
SERIES = ("#2e86ab", "#d1495b", "#c98a00", "#4c9f70", "#8b6fc0", "#808890", "#b5651d", "#2aa7a7")


def projection_histograms(projections: Mapping[tuple[str, str], Sequence[float]]) -> str:
    """One panel for every condition, in the order given, malicious and benign on a shared axis.

    `projections` maps (split, condition), such as ("malicious", "before"), to one projection per query: the
    inner product of the hidden state of the last prompt token with the harmfulness direction.
    """
    conditions = list(dict.fromkeys(condition for _, condition in projections))
    values = np.concatenate([np.asarray(v, dtype=float) for v in projections.values()])
    bins = np.linspace(values.min(), values.max(), 41) if np.ptp(values) else 10
    figure = _figure(height=2.3 * len(conditions))
    panels = figure.subplots(len(conditions), 1, sharex=True, squeeze=False)[:, 0]
    for panel, condition in zip(panels, conditions, strict=True):
        for split, colour in COLOURS.items():
            found = projections.get((split, condition), ())
            if len(found):
                panel.hist(found, bins=bins, color=colour, alpha=0.65, label=f"{split} (n={len(found)})")
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
