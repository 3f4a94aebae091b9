"""The results of one evaluation as one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from davsp.judges.scoring import RULES
from davsp.report.inputs import ReportInputs, read_inputs
from davsp.report.pages import PAGE, check_can_draw, render
from davsp.report.rows import cost_rows, figure_names, measure_tables, summary_measures, too_many_unscored
from davsp.results import Measure, Results, Verdict, read_results
from davsp.util.files import write_text


class _Look(NamedTuple):
    sign: str
    colour: str


_LOOKS = {
    Verdict.RESISTED: _Look("✓", "good"),
    Verdict.CORRECT: _Look("✓", "good"),
    Verdict.NOT_RESISTED: _Look("✗", "bad"),
    Verdict.WRONG: _Look("✗", "bad"),
    Verdict.OVER_REFUSED: _Look("✗", "bad"),
    Verdict.ANSWERED: _Look("•", "neutral"),
    Verdict.BLOCKED: _Look("⊘", "neutral"),
    Verdict.UNSCORED: _Look("⚠", "neutral"),
}


def write_report(folder: Path, results: Results, inputs: ReportInputs) -> Path:
    """Write report.html, which needs nothing but itself, to `folder`; return the page's path.

    Raises InputError without Matplotlib where a figure is asked for, and StorageError where `folder` is not writable.
    """
    from markupsafe import Markup

    projections, training = _drawings(inputs.projections, inputs.training)
    page = render(
        "report.html.j2",
        title=inputs.title,
        results=results,
        groups=list(measure_tables(results.defences)),
        costs=cost_rows(results),
        figures=figure_names(results.scores),
        unscored=sum(results.unscored.values()),
        too_many_unscored=too_many_unscored(results),
        prompt=inputs.prompt,
        remarks=results.remarks,
        blocked=any(rate.blocked for row in results.defences.values() for m in Measure for rate in row[m].values()),
        compared=Measure.UNCHANGED in summary_measures(results),
        rules=RULES,
        projections=Markup(projections),  # noqa: S704 - our own SVG
        training=Markup(training),  # noqa: S704 - our own SVG
        border=_base64(inputs.border) if inputs.border else None,
        transcripts=inputs.transcripts,
        looks=_LOOKS,
        base64=_base64,
    )
    write_text(folder / PAGE, page)
    return folder / PAGE


def rebuild_report(folder: Path) -> Path:
    """Write report.html from results.json and the report inputs in `folder`; return its path.

    Raises InputError when `folder` holds no evaluation, or one that is damaged.
    """
    return write_report(folder, read_results(folder), read_inputs(folder))


def _drawings(projections: Mapping[str, Sequence[float]], training: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Histograms of projections and curves of training, as SVG; "" for what is not there."""
    if not projections and not training:
        return "", ""
    check_can_draw()
    from davsp.report.plots import projection_histograms, training_curves

    return (
        projection_histograms(projections) if projections else "",
        training_curves(training) if training else "",
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
