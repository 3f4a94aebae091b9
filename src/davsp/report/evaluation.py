"""The results of one evaluation as one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from davsp.judges.scoring import RULES
from davsp.rates import Measure, Verdict
from davsp.report.agreement import read_validations
from davsp.report.collect import Evaluation, with_answers
from davsp.report.inputs import ReportInputs, read_inputs
from davsp.report.pages import PAGE, check_can_draw, render
from davsp.report.pareto import TradeOff, trade_off_of
from davsp.report.rows import figure_names, measure_tables
from davsp.report.significance import families
from davsp.report.tables import tables
from davsp.report.transcripts import differs
from davsp.report.verdict import best_trade_off, sentences, warnings_of
from davsp.results import Results, read_results
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
    Verdict.ANSWERED: _Look("•", "plain"),
    Verdict.BLOCKED: _Look("⊘", "neutral"),
    Verdict.UNSCORED: _Look("⚠", "neutral"),
}


def write_report(
    folder: Path,
    results: Results,
    inputs: ReportInputs,
    judge_validations: Sequence[Path] = (),
    *,
    interactive: bool = False,
) -> Path:
    """Write report.html, which needs nothing but itself, to `folder`; return the page's path.

    Defences are compared on the same queries by the transcripts in `folder`, where there are any.
    `judge_validations`: what `davsp judge validate --json` printed; shown is what is of this judge. `interactive`:
    tables can be sorted and filtered. Raises InputError without Matplotlib and for files that are damaged, and
    StorageError where `folder` is not writable.
    """
    evaluation = Evaluation(folder, results)
    compared = families([with_answers(evaluation)])
    checks = [
        check
        for check in read_validations(judge_validations)
        if check.source == "all" and check.judge == evaluation.judge
    ]
    trade_off = trade_off_of(tables([evaluation])[0], [evaluation])
    kinds = list(dict.fromkeys(kind for rates in results.defences.values() for m in Measure for kind in rates[m]))
    page = render(
        "report.html.j2",
        interactive=interactive,
        title=inputs.title,
        results=results,
        warnings=list(warnings_of(results, judge_is_checked=bool(checks))),
        checks=checks,
        best=best_trade_off(results.defences, compared),
        sentences=sentences(results),
        groups=list(measure_tables(results.defences)),
        figures=figure_names(results.scores),
        blocked=any(rate.blocked for row in results.defences.values() for m in Measure for rate in row[m].values()),
        rules=RULES,
        inputs=inputs,
        drawings=_drawings(results, trade_off, kinds if len(kinds) > 1 else [], inputs),
        border=_base64(inputs.border) if inputs.border else None,
        transcripts=sorted(inputs.transcripts, key=lambda transcript: not differs(transcript)),
        differing=sum(map(differs, inputs.transcripts)),
        verdicts=[v for v in Verdict if any(v is a.verdict for t in inputs.transcripts for a in t.answers)],
        looks=_LOOKS,
        base64=_base64,
        logs=(folder / "logs").is_dir(),
    )
    write_text(folder / PAGE, page)
    return folder / PAGE


def rebuild_report(folder: Path, judge_validations: Sequence[Path] = (), *, interactive: bool = False) -> Path:
    """Write report.html from results.json and the report inputs in `folder`; return its path.

    Raises InputError when `folder` holds no evaluation, or one that is damaged, and as `write_report` does.
    """
    return write_report(folder, read_results(folder), read_inputs(folder), judge_validations, interactive=interactive)


def _drawings(results: Results, trade_off: TradeOff, kinds: Sequence[str], inputs: ReportInputs) -> dict[str, Any]:
    """Figures by name, as SVG: those that there is something for."""
    check_can_draw()
    from markupsafe import Markup

    from davsp.report.charts import draw_front, draw_rates, draw_trade_off
    from davsp.report.plots import projection_histograms, training_curves

    drawn = {
        "rates": draw_rates(results.defences),
        "kinds": draw_rates(results.defences, kinds) if kinds else "",
        "trade_off": draw_trade_off(trade_off.points, trade_off.usefulness) if len(trade_off.points) > 1 else "",
        "projections": projection_histograms(inputs.projections, inputs.thresholds) if inputs.projections else "",
        "training": training_curves(inputs.training) if inputs.training else "",
        "front": draw_front(inputs.training),
    }
    return {name: Markup(svg) for name, svg in drawn.items()}  # noqa: S704 - our own SVG


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
