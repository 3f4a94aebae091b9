"""The results of an evaluation as one self-contained HTML page, and as a table in the terminal."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from davsp.data.query import Query
from davsp.defences.base import Defence
from davsp.errors import InputError
from davsp.imaging.opening import open_image, png_bytes
from davsp.judges.rates import Rate, Verdict
from davsp.report.collect import BenchmarkFacts, read_records
from davsp.report.pages import check_can_draw, render
from davsp.report.rows import cost_rows, described_judge, figure_names, format_rate, table_groups, too_many_unscored
from davsp.util.files import write_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@dataclass(frozen=True)
class TranscriptAnswer:
    """One answer. `image` is the PNG as the model saw it behind the defence, where it is known."""

    defence: str
    text: str
    verdict: Verdict
    error: str | None = None
    image: bytes | None = None


@dataclass(frozen=True)
class Transcript:
    """One query and its answers behind every defence."""

    id: str
    group: str
    malicious: bool
    question: str
    answers: Sequence[TranscriptAnswer]


def write_report(
    folder: Path,
    results: Mapping[str, Any],
    *,
    title: str,
    projections: Mapping[tuple[str, str], Sequence[float]] | None = None,
    training: Sequence[Mapping[str, Any]] = (),
    border: bytes | None = None,
    transcripts: Sequence[Transcript] = (),
) -> Path:
    """Write report.html, which needs nothing but itself, to `folder`; return the page's
    path.

    `results` are those of davsp.evaluate.run.evaluate. `projections` maps (split, condition), such as
    ("malicious", "before"), to one float per query. `training` are the records of a training run's
    metrics.jsonl. `border` is an RGBA PNG, transparent where the image goes. A part that is not given is left
    out of the page.

    Raises InputError without Matplotlib where a figure is asked for, and StorageError where `folder` is not
    writable.
    """
    from markupsafe import Markup

    figures = _figures(projections, training)
    page = render(
        "report.html.j2",
        title=title,
        results=results,
        groups=list(table_groups(results)),
        costs=cost_rows(results),
        benchmark=BenchmarkFacts.model_validate(results["benchmark"]) if results.get("benchmark") else None,
        figures=figure_names(results.get("scores", {})),
        unscored=sum(results["unscored"].values()),
        too_many_unscored=too_many_unscored(results),
        judge=described_judge(results),
        projections=Markup(figures[0]),  # noqa: S704 - our own SVG
        training=Markup(figures[1]),  # noqa: S704 - our own SVG
        border=_base64(border) if border else None,
        transcripts=transcripts,
        looks=_LOOKS,
        base64=_base64,
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def print_table(results: Mapping[str, Any], console: Console) -> None:
    """Print the page's tables to a terminal, that of rates in as many parts as its width asks for."""
    from rich.text import Text

    names = list(results["defences"])
    unlimited = console.options.update(max_width=10_000)
    while names:
        shown = len(names)
        while shown > 1 and (
            console.measure(_terminal_table(results, names[:shown]), options=unlimited).maximum > console.width
        ):
            shown -= 1
        console.print(_terminal_table(results, names[:shown]))
        names = names[shown:]
    if rows := cost_rows(results):
        console.print(_cost_table(results, rows))
    if scores := {name: found for name, found in results.get("scores", {}).items() if found}:
        console.print(_scores_table(scores))
    if unscored := sum(results["unscored"].values()):
        console.print(Text(f"{unscored} answers are unscored and in no rate.", style="bold yellow"))
    for warning in too_many_unscored(results):
        console.print(Text(f"WARNING: {warning}", style="bold white on red"))
    console.print(f"Judged by {described_judge(results)}.", markup=False)


def _terminal_table(results: Mapping[str, Any], names: Sequence[str]) -> Table:
    """The rates of some of the defences."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Share, [95 % interval], n", title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(Text(name))
    shown = {**results, "defences": {name: results["defences"][name] for name in names}}
    for group in table_groups(shown):
        table.add_section()
        table.add_row(Text(f"{group.title}\n({group.direction})", style="bold"))
        for row in group.rows:
            cells = [Text("-") if rate is None else _terminal_cell(rate) for rate in row.rates]
            table.add_row(Text(f"  {row.kind}"), *cells, style="bold" if row.pooled else None)
    return table


def _cost_table(results: Mapping[str, Any], rows: Sequence[tuple[str, list[str]]]) -> Table:
    """A line for every defence: there may be many, and costs are few."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Cost of a query (mean)", title_justify="left")
    table.add_column("", min_width=max(map(len, results["defences"])))
    for title, _ in rows:
        table.add_column(title, justify="right")
    for i, name in enumerate(results["defences"]):
        table.add_row(Text(name), *(cells[i] for _, cells in rows))
    return table


def _scores_table(scores: Mapping[str, Mapping[str, Any]]) -> Table:
    """The benchmark's official scores: a line for each figure, a column for each defence."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Official scores, [95 % interval], n", title_justify="left")
    table.add_column("")
    for name in scores:
        table.add_column(Text(name))
    for figure in figure_names(scores):
        cells = [Text(_score_cell(found[figure]) if figure in found else "-") for found in scores.values()]
        table.add_row(Text(figure), *cells)
    return table


def choose_transcripts(
    file: Path, queries: Sequence[Query], defences: Sequence[Defence], per_group: int = 1
) -> list[Transcript]:
    """The first queries of every group from an evaluation's transcripts.jsonl, with the images as they were
    sent.

    `queries` and `defences` are those of the evaluation. Raises InputError if the file does not fit them.
    """
    by_id = {query.id: query for query in queries}
    defence_of = {defence.name: defence for defence in defences}
    taken: dict[str, int] = {}
    chosen = []
    for record in read_records(file):
        group = record["group"]
        taken[group] = taken.get(group, 0) + 1
        if taken[group] > per_group:
            continue
        if record["id"] not in by_id:
            raise InputError(f"{file}: query {record['id']!r} is unknown. Give the queries of the evaluation.")
        answers = [
            TranscriptAnswer(
                name,
                said["text"],
                Verdict(said["verdict"]),
                said["error"],
                None if said["error"] else _image_as_sent(by_id[record["id"]], defence_of[name]),
            )
            for name, said in record["answers"].items()
            if name in defence_of
        ]
        chosen.append(Transcript(record["id"], group, record["malicious"], record["question"], answers))
    return chosen


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
    Verdict.UNSCORED: _Look("⚠", "neutral"),
}


def _figures(
    projections: Mapping[tuple[str, str], Sequence[float]] | None, training: Sequence[Mapping[str, Any]]
) -> tuple[str, str]:
    if not projections and not training:
        return "", ""
    check_can_draw()
    from davsp.report.plots import projection_histograms, training_curves

    return (
        projection_histograms(projections) if projections else "",
        training_curves(training) if training else "",
    )


def _terminal_cell(rate: Rate) -> Any:
    from rich.text import Text

    return Text(format_rate(rate), style="yellow" if rate.unscored else "")


def _score_cell(figure: Mapping[str, Any]) -> str:
    interval = "" if figure["low"] is None else f" [{figure['low']:.4g}, {figure['high']:.4g}]"
    return f"{figure['value']:.4g}{interval} n={figure['n']}"


def _image_as_sent(query: Query, defence: Defence) -> bytes:
    """Of a defence that asks more than once, the user's own image."""
    return png_bytes(open_image(defence.preview(query).image))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
