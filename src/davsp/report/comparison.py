"""Many evaluations as one page, and as files of tables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from davsp.errors import InputError
from davsp.rates import Measure
from davsp.report.agreement import between_judges, read_validations
from davsp.report.cells import HEADINGS, LEGEND, parts, source_of_published
from davsp.report.charts import draw_trade_off
from davsp.report.collect import Evaluation, collect, with_answers
from davsp.report.csv_files import scenarios_csv, significance_csv, tables_csv
from davsp.report.latex import latex
from davsp.report.markdown import markdown
from davsp.report.pages import PAGE, check_can_draw, render
from davsp.report.pareto import trade_off_of
from davsp.report.rows import figure_names, measure_tables
from davsp.report.significance import ALPHA, families
from davsp.report.tables import ModelTable, tables
from davsp.report.verdict import Sentence, best_trade_off_in, sentences_of
from davsp.report.viewer import write_viewer
from davsp.results import RESULTS
from davsp.util.files import write_text

_MEASURES = {
    Measure.RSR: "Resisted",
    Measure.BENIGN_ACCURACY: "Answered right",
    Measure.UNCHANGED: "Same as undefended",
    Measure.OVER_REFUSAL: "Over-refused",
}


class InShort(NamedTuple):
    """One model's defences in words."""

    table: ModelTable
    best: str
    sentences: Sequence[Sentence]


@dataclass(frozen=True)
class Drawing:
    """The defences of one model as SVG, and those that could not be drawn."""

    table: ModelTable
    svg: Any
    left_out: Sequence[str]


def write_comparison(
    folders: Sequence[Path],
    out: Path,
    *,
    judge_validations: Sequence[Path] = (),
    viewer: bool = False,
    interactive: bool = False,
) -> Path:
    """Write report.html, tables.md, tables.tex, tables.csv, scenarios.csv and significance.csv to `out`, of all
    evaluations in the folders; return the page's path.

    `judge_validations`: what `davsp judge validate --json` printed. `viewer`: also write Inspect's viewer of all logs.
    `interactive`: tables can be sorted and filtered.
    Raises InputError for folders and files that are not usable, and where `out` holds an evaluation with a page of its
    own; StorageError where `out` is not writable.
    """
    if (out / RESULTS).is_file():
        raise InputError(f"{out} holds an evaluation, whose own {PAGE} would be lost: give another folder with --out.")
    evaluations = collect(folders)
    validations = read_validations(judge_validations)
    answered = [with_answers(evaluation) for evaluation in evaluations]
    model_tables, compared = tables(evaluations), families(answered)
    links = write_viewer(evaluations, out) if viewer else {}
    page = render(
        "comparison.html.j2",
        interactive=interactive,
        title=_title(evaluations),
        tables=model_tables,
        verdicts=[
            InShort(table, best_trade_off_in(table, compared), sentences_of(table, evaluations))
            for table in model_tables
            if any(not row.published for row in table.rows)
        ],
        headings=HEADINGS,
        parts=parts,
        legend=LEGEND,
        published=source_of_published(model_tables),
        figures=_drawings(model_tables, evaluations),
        families=compared,
        alpha=ALPHA,
        measures=_MEASURES,
        p_value=_p_value,
        silent=[one.evaluation.title for one in answered if not one.queries],
        validations=validations,
        between=between_judges(answered),
        evaluations=[_shown(evaluation, out, links) for evaluation in evaluations],
        viewer=viewer,
        out=out,
    )
    for name, content in (
        ("tables.md", markdown(model_tables)),
        ("tables.tex", latex(model_tables)),
        ("tables.csv", tables_csv(model_tables)),
        ("scenarios.csv", scenarios_csv(evaluations)),
        ("significance.csv", significance_csv(compared)),
        (PAGE, page),
    ):
        write_text(out / name, content)
    return out / PAGE


def _title(evaluations: Sequence[Evaluation]) -> str:
    models = list(dict.fromkeys(evaluation.model for evaluation in evaluations))
    named = ", ".join(models[:3]) + (f" and {len(models) - 3} more" if len(models) > 3 else "")
    return f"{named}: {len(evaluations)} evaluation{'s' * (len(evaluations) > 1)}"


def _drawings(model_tables: Sequence[ModelTable], evaluations: Sequence[Evaluation]) -> list[Drawing]:
    from markupsafe import Markup

    drawings = []
    for table in model_tables:
        trade_off = trade_off_of(table, evaluations)
        if trade_off.points:
            check_can_draw()
            svg = draw_trade_off(trade_off.points, trade_off.usefulness)
            drawings.append(Drawing(table, Markup(svg), trade_off.left_out))  # noqa: S704 - our own SVG
    return drawings


def _shown(evaluation: Evaluation, out: Path, links: Mapping[Path, str]) -> dict[str, Any]:
    """What the page shows of one evaluation."""
    results = evaluation.results
    own, logs = evaluation.folder / PAGE, evaluation.folder / "logs"
    return {
        "evaluation": evaluation,
        "results": results,
        "groups": list(measure_tables(results.defences)),
        "figures": figure_names(results.scores),
        "unscored": sum(results.unscored.values()),
        "page": _link(own, out) if own.is_file() else "",
        "logs": links.get(evaluation.folder, "") or (_link(logs, out) + "/" if logs.is_dir() else ""),
    }


def _link(file: Path, out: Path) -> str:
    """A relative address; the leading ./ keeps a colon in a name from being read as a scheme."""
    return f"./{quote(os.path.relpath(file.resolve(), out.resolve()))}"


def _p_value(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"
