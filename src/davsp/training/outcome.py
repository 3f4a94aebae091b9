"""What a training run came to, said at its end: before and after on the validation queries, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from davsp.rates import Rate
from davsp.training.front import SIGNS, figures
from davsp.training.run_state import Record
from davsp.training.separation import LayerStatistics

if TYPE_CHECKING:
    from rich.table import Table

FEW = 20
"""Below so many validation queries of a kind, which prompt is kept and which layer is chosen are close to chance."""
UNMOVED = 0.1
"""Standard deviations by which queries should at least have moved along the direction, on the one side or the other."""
LITTLE_KEPT = 0.5
"""Where an untrained prompt keeps less of the benign answers, they are hardly the model's own."""


def outcome_lines(
    before: Mapping[str, float],
    after: Mapping[str, float],
    last: Mapping[str, float],
    answered: int,
    malicious: int,
    benign: int,
) -> list[str]:
    """Lines for a user, warnings among them.

    `before`, `after` and `last` are the validation records of the untrained prompt, of the one that is kept and of the
    last. Of `malicious` and `benign` validation queries, `answered` malicious ones were answered: `refused` is of
    those, `kept` of all benign ones.
    """
    figures = {"malicious queries refused": ("refused", answered), "benign answers kept": ("kept", benign)}
    parts = [
        f"{what} {_rate(before[name], n)} -> {_rate(after[name], n)} (n={n})"
        for what, (name, n) in figures.items()
        if n
    ]
    lines = [f"On the validation queries, untrained -> step {after['step']:.0f}, which is kept: {'; '.join(parts)}."]
    if after["quality"] <= before["quality"]:
        lines.append(
            "WARNING: the prompt that is kept is no better than the untrained one. Try more steps, a larger step_size, "
            "a higher refusal_share, another layer, or more queries; metrics.jsonl shows whether anything moved."
        )
    moved = {side: _moved(before, last, side) for side in ("malicious", "benign")}
    if max(map(abs, moved.values())) < UNMOVED:
        lines.append(
            f"WARNING: this prompt hardly reaches the model: by the last step, validation queries moved along the "
            f"direction by {moved['malicious']:+.2f} standard deviations (malicious) and {moved['benign']:+.2f} "
            "(benign). Try more steps, another layer or direction, a wider border (width) or mode=additive; where "
            "nothing helps, a gate (davsp fit gate) needs no pixel."
        )
    if benign and before["kept"] < LITTLE_KEPT:
        lines.append(
            f"WARNING: even behind the untrained prompt, {100 * before['kept']:.0f} % of the benign answers are those "
            "trained towards: it shrinks the image too much (try a smaller width), its prefix has the model answer "
            "otherwise (try another, or prefix= for none), or the queries bring answers that this model does not give, "
            "which drown all else (try benign=divergence: it holds the model to its own)."
        )
    if answered and after["refused"] == 0:
        lines.append("WARNING: behind this prompt, not one malicious validation query is refused.")
    if benign and after["kept"] == 0:
        lines.append("WARNING: behind this prompt, not one benign answer stays as it was: the model cannot be used.")
    if min(malicious, benign) < FEW:
        lines.append(
            f"WARNING: there are {malicious} malicious and {benign} benign validation queries, too few to choose by: "
            f"give {FEW} of each or more."
        )
    return lines


def _moved(before: Mapping[str, float], last: Mapping[str, float], side: str) -> float:
    """By how many of their standard deviations the queries of a side moved along the direction."""
    name, spread = f"{side}_projection", before[f"{side}_projection_std"]
    return (last[name] - before[name]) / spread if spread else 0.0


def front_table(untrained: Record, front: Sequence[Record], kept: int, counts: Mapping[str, int]) -> Table:
    """The front of a run as a table: what its untrained prompt, and each that no other beats, did on the validation
    queries, with 95 % intervals.

    `untrained` and `front` are validation records, those of the front with their "step"; `kept` is the step of the
    prompt that is kept. `counts`: how many queries each figure is of.
    """
    from rich.box import SIMPLE
    from rich.table import Table

    named = {"refused": "malicious refused", "kept": "benign kept", "over_refusal": "look-alikes refused"}
    shown = [name for name in SIGNS if figures(untrained, name) and counts[name]]
    diverging = bool(figures(untrained, "divergence"))
    title = "The front (* is kept; davsp train --pick STEP keeps another)"
    table = Table(title=title, title_justify="left", box=SIMPLE)
    table.add_column("step", justify="right")
    for name in shown:
        table.add_column(f"{named[name]} (n={counts[name]})", justify="right", min_width=len("100 % [89, 100]"))
    if diverging:
        table.add_column("divergence, nats a token", justify="right")
    for step, record in (("0", untrained), *((f"{r['step']:.0f}", r) for r in front)):
        cells = [_rate(fmean(figures(record, name)), counts[name]) for name in shown]
        if diverging:
            cells.append(f"{max(figures(record, 'divergence')):.4f}")
        table.add_row(f"{step} *" if step == str(kept) else step, *cells)
    return table


def layer_warning(statistics: Sequence[LayerStatistics], chosen: int, malicious: int, benign: int) -> str | None:
    """A line for a user where so few validation queries chose a layer that others might be as good; None elsewhere."""
    best = max(statistics, key=lambda s: s.separation)
    alike = [s.layer for s in statistics if s.separation >= best.separation - best.separation_error]
    if min(malicious, benign) >= FEW or len(alike) == 1:
        return None
    return (
        f"WARNING: layer {chosen} was chosen by {malicious} malicious and {benign} benign validation queries, which "
        f"cannot tell it from {len(alike) - 1} others (layer {best.layer} separates them best): give {FEW} of each or "
        "more, or name the layer."
    )


def _rate(share: float, n: int) -> str:
    shown = Rate.of(round(share * n), n).in_percent(0, " %")
    assert shown is not None
    return shown
