"""The results of an evaluation as tables in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from davsp.rates import Figure, Measure, Rate
from davsp.report.rows import (
    SHORT,
    cost_rows,
    figure_names,
    format_rate,
    summary_measures,
    summary_rows,
    too_many_unscored,
)
from davsp.results import Results


def print_table(results: Results, console: Console) -> None:
    """Print a row for every defence, as many lines high as the terminal's width asks for; costs; official scores; and
    what to beware of. Kinds of query stand on the page."""
    unlimited = console.options.update(max_width=10_000)
    for breaks in range(3):
        table = _rates_table(results, breaks)
        if console.measure(table, options=unlimited).maximum <= console.width:
            break
    console.print(table)
    if rows := cost_rows(results):
        console.print(_cost_table(list(results.defences), rows))
    if scores := {name: figures for name, figures in results.scores.items() if figures}:
        console.print(_scores_table(scores))
    if unscored := sum(results.unscored.values()):
        console.print(Text(f"{unscored} answers are unscored and in no rate.", style="bold yellow"))
    for remark in results.remarks:
        console.print(Text(remark))
    for warning in too_many_unscored(results):
        console.print(Text(f"WARNING: {warning}", style="bold white on red"))
    console.print(f"Judged by {results.judge}.", markup=False)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _rates_table(results: Results, breaks: int) -> Table:
    """A row for every defence, all kinds taken together, with so many line breaks in each rate."""
    table = _table("Share, [95 % interval], n: higher is better, but of harmless refused lower")
    table.add_column("", overflow="fold")
    measures = summary_measures(results)
    for measure in measures:
        table.add_column(SHORT[measure].replace(" ", "\n" if breaks == 2 else " "))
    for row in summary_rows(results):
        cells = [Text("-") if rate is None else _cell(rate, breaks) for rate in row.rates]
        if row.token_f1:
            cells[measures.index(Measure.UNCHANGED)].append(f"\nF1 {row.token_f1.value:.3f}")
        table.add_row(Text(row.defence), *cells)
    return table


def _cost_table(names: Sequence[str], rows: Sequence[tuple[str, list[str]]]) -> Table:
    """A line for every defence: there may be many, and costs are few."""
    table = _table("Cost of a query (mean)")
    table.add_column("", overflow="fold", min_width=min(24, max(map(len, names))))
    for title, _ in rows:
        table.add_column(title, justify="right")
    for i, name in enumerate(names):
        table.add_row(Text(name), *(cells[i] for _, cells in rows))
    return table


def _scores_table(scores: Mapping[str, Mapping[str, Figure]]) -> Table:
    """The benchmark's official scores: a line for each figure, a column for each defence."""
    table = _table("Official scores, [95 % interval], n")
    table.add_column("")
    for name in scores:
        table.add_column(Text(name))
    for name in figure_names(scores):
        cells = [Text(_score_cell(figures[name]) if name in figures else "-") for figures in scores.values()]
        table.add_row(Text(name), *cells)
    return table


def _cell(rate: Rate, breaks: int) -> Text:
    """The rate; one line break is before n, two are around the interval."""
    shown = format_rate(rate)
    for part in ("n=", "[")[:breaks]:
        shown = shown.replace(f" {part}", f"\n{part}", 1)
    return Text(shown, style="yellow" if rate.unscored else "")


def _score_cell(figure: Figure) -> str:
    interval = "" if figure.low is None else f" [{figure.low:.4g}, {figure.high:.4g}]"
    return f"{figure.value:.4g}{interval} n={figure.n}"
