"""Tables as LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from davsp.report.cells import HEADINGS, cell, legends, one_line, parts, row_label
from davsp.report.tables import Column, ModelTable, Value

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    # The default fonts of LaTeX have other signs in the places of these three.
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after the end of a row it would begin an option
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def latex(tables: Sequence[ModelTable]) -> str:
    """All tables, each a `table*` that needs the packages graphicx and no other."""
    blocks = ["% In the preamble: \\usepackage{graphicx}", *map(_table, tables)]
    return "\n\n".join([*blocks, *(f"% {line}" for line in legends(tables))]) + "\n"


def _table(table: ModelTable) -> str:
    spans = [f"\\multicolumn{{{n}}}{{c}}{{{_escaped(HEADINGS[purpose])}}}" for purpose, n in table.purposes()]
    heads = [f"\\shortstack{{{_escaped(c.title)}\\\\{_escaped(c.unit)}}}" for c in table.columns]
    lines = [
        *(f"% Warning: {one_line(warning)}" for warning in table.warnings),
        "\\begin{table*}",
        f"\\caption{{{_escaped(table.model)}, judged by {_escaped(table.judge)}.}}",
        "\\resizebox{\\textwidth}{!}{%",
        f"\\begin{{tabular}}{{l{'c' * len(table.columns)}}}",
        "\\hline",
        f" & {' & '.join(spans)} \\\\",
        f" & {' & '.join(heads)} \\\\",
        "\\hline",
    ]
    for row in table.rows:
        cells = [_cell(v, c, row.published) for c, v in zip(table.columns, row.values, strict=True)]
        label = f"\\textit{{{_escaped(row_label(row))}}}" if row.published else _escaped(row.defence)
        lines.append(f"{label} & {' & '.join(cells)} \\\\")
    return "\n".join([*lines, "\\hline", "\\end{tabular}}", "\\end{table*}"])


def _cell(value: Value | None, column: Column, published: bool) -> str:
    if value is None:
        return "--"
    if published:
        return f"\\textit{{{cell(value, column, published=True)}}}"
    number, *small = parts(value, column)
    stacked = "\\\\".join([number, *(f"{{\\scriptsize {part}}}" for part in small if part)])
    return f"\\shortstack{{{stacked}}}"


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(letter, letter) for letter in one_line(text))
