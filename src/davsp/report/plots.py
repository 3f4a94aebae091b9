"""Figures of the report, as SVG that takes its text colour from the page."""

from __future__ import annotations

import hashlib
import html
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#0a0b0c"
"""Stands for the page's text colour, whichever that is."""
COLOURS = {"malicious": "#d1495b", "benign": "#2e86ab", "harmless": "#c98a00"}
"""Of the classes of queries, and of nothing else."""
SERIES = ("#8b6fc0", "#3f9a68", "#b5651d", "#2aa7a7", "#808890", "#c2559d", "#8a8f1f", "#6b7fd7")


def projection_histograms(
    projections: Mapping[str, Sequence[float]], thresholds: tuple[float, float] | None = None
) -> str:
    """One panel for every condition, in the order given, malicious and benign on a shared axis.

    `projections` maps "side/condition", such as "malicious/before", to one projection per query: the inner product of
    the hidden state of the last prompt token with the harmfulness direction. `thresholds` are those that training
    pushed malicious queries above and benign ones below: dashed lines of their colours.
    """
    from davsp.training.separation import auroc

    conditions = list(dict.fromkeys(name.partition("/")[2] for name in projections))
    values = np.concatenate([np.asarray(v, dtype=float) for v in projections.values()])
    bins = np.linspace(values.min(), values.max(), 41) if np.ptp(values) else 10
    figure = new_figure(2.3 * len(conditions))
    panels = figure.subplots(len(conditions), 1, sharex=True, squeeze=False)[:, 0]
    for panel, condition in zip(panels, conditions, strict=True):
        for side in ("malicious", "benign"):
            of_side = projections.get(f"{side}/{condition}", ())
            if len(of_side):
                panel.hist(of_side, bins=bins, color=COLOURS[side], alpha=0.65, label=f"{side} (n={len(of_side)})")
        for threshold, colour in zip(thresholds or (), COLOURS.values(), strict=False):
            panel.axvline(threshold, color=colour, linestyle="--", linewidth=1.2)
        panel.set_ylabel("queries")
        high, low = (np.asarray(projections.get(f"{side}/{condition}", ())) for side in ("malicious", "benign"))
        told = f": AUROC {auroc(high, low):.3f}" if len(high) and len(low) else ""
        _with_legend(panel, condition + told)
    panels[-1].set_xlabel("projection onto the harmfulness direction")
    return to_svg(figure, "Projections of malicious and benign queries: " + ", ".join(conditions))


def training_curves(records: Sequence[Mapping[str, Any]]) -> str:
    """Losses and validation values over the steps of a training run, a panel for each quantity, classes in their
    colours.

    A record has `step` and named numbers, or a `validation` mapping of them. Of the former, losses, divergences and
    multipliers are drawn; of the latter all but standard deviations (`..._std`) and `quality`, the sum of two others.
    """
    panels_of: dict[str, dict[str, list[tuple[int, float]]]] = {}

    def add(where: str, name: str, step: int, value: float) -> None:
        side, _, quantity = name.replace("_", " ").partition(" ")
        if side not in COLOURS or not quantity:
            side, quantity = name.replace("_", " "), "losses" if "loss" in name else "shares"
        panels_of.setdefault(f"{where}: {quantity}", {}).setdefault(side, []).append((step, value))

    for record in records:
        for name, value in _numbers(record):
            if any(quantity in name for quantity in ("loss", "divergence", "multiplier")):
                add("training", name, record["step"], value)
        for name, value in _numbers(record.get("validation", {})):
            if not name.endswith("_std") and name != "quality":
                add("validation", name, record["step"], value)

    figure = new_figure(2.4 * len(panels_of))
    panels = figure.subplots(len(panels_of), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (title, series) in zip(panels, panels_of.items(), strict=True):
        others = cycle(SERIES)
        for name, points in series.items():
            colour = COLOURS.get(name) or next(others)
            steps, values = zip(*points, strict=True)
            marker = "o" if len(points) < 30 else None
            panel.plot(steps, values, color=colour, label=name, marker=marker, markersize=3, linewidth=1.2)
        _with_legend(panel, title)
    panels[-1].set_xlabel("step")
    return to_svg(figure, "Training curves over the steps: " + ", ".join(panels_of))


def _numbers(record: Mapping[str, Any]) -> list[tuple[str, float]]:
    return [(name, value) for name, value in record.items() if isinstance(value, int | float)]


def new_figure(height: float) -> Figure:
    """A figure as wide as a telephone, so many inches high."""
    from matplotlib.figure import Figure

    return Figure(figsize=(5.2, height), layout="constrained", facecolor="none")


def dress(panel: Axes) -> None:
    """Page-coloured text and axes, no box."""
    panel.set_facecolor("none")
    panel.tick_params(colors=INK, labelsize=10)
    for side, spine in panel.spines.items():
        spine.set_color(INK)
        spine.set_visible(side in ("left", "bottom"))
    for label in (panel.xaxis.label, panel.yaxis.label):
        label.set_color(INK)
        label.set_fontsize(10.5)


def _with_legend(panel: Axes, title: str) -> None:
    """Dressed; title and legend above the panel, where they hide nothing."""
    dress(panel)
    legend = panel.legend(
        title=title,
        title_fontproperties={"size": 11, "weight": "bold"},
        alignment="left",
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.2,
        ncols=2,
        columnspacing=1.0,
        fontsize=10,
        frameon=False,
        labelcolor=INK,
    )
    legend.get_title().set_color(INK)


def to_svg(figure: Figure, description: str) -> str:
    """The figure as an <svg> element for an HTML page: no XML header, no metadata, no address of any kind, and ids that
    no other figure on the page has."""
    from matplotlib import rc_context

    stream = io.StringIO()
    # The same figure has the same ids every time. Letters that the font lacks are boxes here; tables have them.
    with rc_context({"svg.hashsalt": "davsp"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    own = hashlib.sha256(svg.encode()).hexdigest()[:8]
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>f{own}-", svg)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", svg, count=1)
    svg = re.sub(r'<svg([^>]*?) height="[^"]*"', r"<svg\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(description)}"', 1).replace(
        INK, "currentColor"
    )
