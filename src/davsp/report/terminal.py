"""The results of an evaluation as tables in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from davsp.report.rows import cost_rows, figure_names, format_mean, format_rate, measure_tables, too_many_unscored
from davsp.results import Figure, Rate, Rates, Results


def print_table(results: Results, console: Console) -> None:
    """Print the page's tables to a terminal, that of rates in as many parts as its width asks for."""
    left = dict(results.defences)
    unlimited = console.options.update(max_width=10_000)
    while left:
        shown = list(left)
        while len(shown) > 1 and (
            console.measure(_rates_table({name: left[name] for name in shown}), options=unlimited).maximum
            > console.width
        ):
            shown.pop()
        console.print(_rates_table({name: left.pop(name) for name in shown}))
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


def _rates_table(defences: Mapping[str, Rates]) -> Table:
    table = Table(title="Share, [95 % interval], n", title_justify="left")
    table.add_column("")
    for name in defences:
        table.add_column(Text(name))
    for group in measure_tables(defences):
        table.add_section()
        table.add_row(Text(f"{group.title}\n({group.direction})", style="bold"))
        for row in group.rows:
            cells = [Text("-") if cell is None else _cell(cell) for cell in row.cells]
            table.add_row(Text(f"  {row.kind}"), *cells, style="bold" if row.pooled else None)
    return table


def _cost_table(names: Sequence[str], rows: Sequence[tuple[str, list[str]]]) -> Table:
    """A line for every defence: there may be many, and costs are few."""
    table = Table(title="Cost of a query (mean)", title_justify="left")
    table.add_column("", min_width=max(map(len, names)))
    for title, _ in rows:
        table.add_column(title, justify="right")
    for i, name in enumerate(names):
        table.add_row(Text(name), *(cells[i] for _, cells in rows))
    return table


def _scores_table(scores: Mapping[str, Mapping[str, Figure]]) -> Table:
    """The benchmark's official scores: a line for each figure, a column for each defence."""
    table = Table(title="Official scores, [95 % interval], n", title_justify="left")
    table.add_column("")
    for name in scores:
        table.add_column(Text(name))
    for name in figure_names(scores):
        cells = [Text(_score_cell(figures[name]) if name in figures else "-") for figures in scores.values()]
        table.add_row(Text(name), *cells)
    return table


def _cell(measured: Rate | Figure) -> Text:
    if isinstance(measured, Figure):
        return Text(format_mean(measured))
    return Text(format_rate(measured), style="yellow" if measured.unscored else "")


def _score_cell(figure: Figure) -> str:
    interval = "" if figure.low is None else f" [{figure.low:.4g}, {figure.high:.4g}]"
    return f"{figure.value:.4g}{interval} n={figure.n}"
