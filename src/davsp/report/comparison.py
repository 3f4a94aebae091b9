"""Many evaluations as one page, and as files of tables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from davsp.errors import InputError
from davsp.report.agreement import between_judges, read_validations
from davsp.report.collect import RESULTS, Evaluation, collect, read_transcripts
from davsp.report.pages import check_can_draw, render
from davsp.report.plots import trade_off
from davsp.report.rows import cost_rows, figure_names, table_groups
from davsp.report.significance import ALPHA, families
from davsp.report.standing import field_of
from davsp.report.tables import ModelTable, published, tables
from davsp.report.typeset import (
    HEADINGS,
    LEGEND,
    PUBLISHED,
    latex,
    markdown,
    parts,
    scenarios_csv,
    significance_csv,
    tables_csv,
)
from davsp.report.viewer import write_viewer
from davsp.util.files import write_text

PAGE = "report.html"


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
) -> Path:
    """Write report.html, tables.md, tables.tex, tables.csv, scenarios.csv and significance.csv to `out`, of all
    evaluations in the folders; return the page's path.

    `judge_validations`: what `davsp judge validate --json` printed. `viewer`: also write Inspect's viewer of all logs.
    Raises InputError for folders and files that are not usable, and where `out` holds an evaluation with a page of its
    own; StorageError where `out` is not writable.
    """
    if (out / RESULTS).is_file():
        raise InputError(f"{out} holds an evaluation, whose own {PAGE} would be lost: give another folder with --out.")
    evaluations = collect(folders)
    validations = read_validations(judge_validations)
    told = [(evaluation, read_transcripts(evaluation)) for evaluation in evaluations]
    shown, compared = tables(evaluations), families(told)
    links = write_viewer(evaluations, out) if viewer else {}
    page = render(
        "comparison.html.j2",
        title=_title(evaluations),
        tables=shown,
        headings=HEADINGS,
        parts=parts,
        legend=LEGEND,
        published=f"{PUBLISHED} Source: {published()['source']}." if _any_published(shown) else "",
        figures=_figures(shown, evaluations),
        families=compared,
        alpha=ALPHA,
        measures={"rsr": "Resisted", "benign_accuracy": "Answered right", "over_refusal": "Over-refused"},
        p_value=_p_value,
        silent=[evaluation.title for evaluation, queries in told if not queries],
        validations=validations,
        between=between_judges(told),
        evaluations=[_described(evaluation, out, links) for evaluation in evaluations],
        viewer=viewer,
        out=out,
    )
    for name, content in (
        ("tables.md", markdown(shown)),
        ("tables.tex", latex(shown)),
        ("tables.csv", tables_csv(shown)),
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


def _any_published(shown: Sequence[ModelTable]) -> bool:
    return any(row.published for table in shown for row in table.rows)


def _figures(shown: Sequence[ModelTable], evaluations: Sequence[Evaluation]) -> list[Drawing]:
    from markupsafe import Markup

    found = []
    for table in shown:
        field = field_of(table, evaluations)
        if field.standings:
            check_can_draw()
            svg = trade_off(field.standings, field.usefulness)
            found.append(Drawing(table, Markup(svg), field.left_out))  # noqa: S704 - our own SVG
    return found


def _described(evaluation: Evaluation, out: Path, links: Mapping[Path, str]) -> dict[str, Any]:
    """What the page shows of one evaluation beside its rates."""
    results = evaluation.results
    own = evaluation.folder / PAGE
    return {
        "told": evaluation,
        "names": list(results["defences"]),
        "groups": list(table_groups(results)),
        "costs": cost_rows(results),
        "figures": figure_names(evaluation.scores),
        "unscored": sum(results["unscored"].values()),
        "page": _link(own, out) if own.is_file() else "",
        "logs": links.get(evaluation.folder, ""),
    }


def _link(file: Path, out: Path) -> str:
    """A relative address; the leading ./ keeps a colon in a name from being read as a scheme."""
    return f"./{quote(os.path.relpath(file.resolve(), out.resolve()))}"


def _p_value(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"
