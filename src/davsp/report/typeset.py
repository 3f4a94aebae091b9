"""Tables as text: Markdown, LaTeX and CSV files, and the cells that pages share with them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from davsp.benchmarks.base import Purpose
from davsp.judges.rates import MEASURES
from davsp.report.collect import Evaluation
from davsp.report.significance import Family
from davsp.report.tables import Column, ModelTable, TableRow, Value, published

HEADINGS = {
    Purpose.SAFETY: "Safety: higher is better",
    Purpose.USEFULNESS: "Usefulness: higher is better",
    Purpose.OVER_REFUSAL: "Over-refusal: lower is better",
}
LEGEND = (
    "RSR: malicious queries resisted. Right: benign queries answered right. Refused: harmless queries refused. In "
    "brackets the 95 % interval: Wilson's for shares, a bootstrap's for scores; n is how many answers were scored. Of "
    "several runs: their mean, the lowest and the highest end of their intervals, and n of each run."
)
PUBLISHED = (
    "Published values have no interval, and resistance there was judged by a language model. They were read from the "
    "paper, not measured here."
)


def parts(value: Value, column: Column) -> tuple[str, str, str]:
    """A measured value's number, its interval, and its n with what is unscored; "" for what there is not."""
    unscored = f" ({value.unscored} unscored)" if value.unscored else ""
    if value.value is None:
        return "no score", "", unscored.strip()
    decimals = min(1, column.decimals)
    interval = "" if value.low is None else f"[{value.low:.{decimals}f}, {value.high:.{decimals}f}]"
    runs, n = value.runs, value.n or 0
    each = f"n={n}" if runs == 1 else f"n={runs} x {n // runs}" if n % runs == 0 else f"n={n} in {runs} runs"
    return f"{value.value:.{decimals}f}", interval, each + unscored


def cell(value: Value | None, column: Column, *, published: bool) -> str:
    """`98.7 [98.0, 99.2] n=1480`; a published value alone, as printed; a dash for what was not measured."""
    if value is None:
        return "-"
    if published:
        return f"{value.value:.{column.decimals}f}"
    return " ".join(part for part in parts(value, column) if part)


def markdown(tables: Sequence[ModelTable]) -> str:
    """All tables, one below the other."""
    blocks = [_markdown_table(table) for table in tables]
    return "\n\n".join([*blocks, *_legend(tables)]) + "\n"


def latex(tables: Sequence[ModelTable]) -> str:
    """All tables, each a `table*` that needs the packages graphicx and no other."""
    blocks = ["% In the preamble: \\usepackage{graphicx}", *(_latex_table(table) for table in tables)]
    return "\n\n".join([*blocks, *(f"% {line}" for line in _legend(tables))]) + "\n"


def tables_csv(tables: Sequence[ModelTable]) -> str:
    """The same rows for programs: for every column its value, the ends of its interval, n, unscored and runs."""
    names = list(dict.fromkeys(_name(column) for table in tables for column in table.columns))
    fields = ("value", "low", "high", "n", "unscored", "runs")
    header = ["model", "judge", "defence", "source", *(f"{name}: {field}" for name in names for field in fields)]
    lines = []
    for table in tables:
        for row in table.rows:
            line: dict[str, Any] = {"model": table.model, "judge": table.judge, "defence": row.defence}
            line["source"] = "published" if row.published else "measured"
            for column, value in zip(table.columns, row.values, strict=True):
                if value is not None:
                    told = ("value",) if row.published else fields
                    line |= {f"{_name(column)}: {field}": getattr(value, field) for field in told}
            lines.append(line)
    return _csv(header, lines)


def scenarios_csv(evaluations: Sequence[Evaluation]) -> str:
    """Every rate of every group, and every official figure, one a line. Rates are shares in 0..1."""
    header = ["model", "judge", "folder", "benchmark", "seed", "defence", "measure", "group", "value", "low", "high"]
    return _csv([*header, "n", "unscored"], [line for e in evaluations for line in _scenarios(e)])


def significance_csv(families: Sequence[Family]) -> str:
    """Every comparison, one a line."""
    header = ["model", "judge", "queries", "measure", "first", "second", "only_first", "only_second", "n"]
    lines = [
        {"model": family.model, "judge": family.judge, "queries": family.title, **vars(comparison)}
        for family in families
        for comparison in family.comparisons
    ]
    return _csv([*header, "left_out", "p", "corrected"], lines)


def _scenarios(evaluation: Evaluation) -> Iterator[Mapping[str, Any]]:
    told = {
        "model": evaluation.model,
        "judge": evaluation.judge,
        "folder": str(evaluation.folder),
        "benchmark": evaluation.title,
        "seed": evaluation.seed,
    }
    for defence, rates in evaluation.results["defences"].items():
        for measure in MEASURES:
            for group, rate in rates[measure].items():
                numbers = {**rate, "value": rate["rate"]}
                del numbers["rate"]
                yield told | {"defence": defence, "measure": measure, "group": group, **numbers}
        for name, figure in evaluation.scores.get(defence, {}).items():
            numbers = {key: value for key, value in figure.to_json().items() if key != "interval"}
            yield told | {"defence": defence, "measure": "score", "group": name, **numbers}


def _csv(header: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def _name(column: Column) -> str:
    return f"{column.title} ({column.unit})"


def _legend(tables: Sequence[ModelTable]) -> list[str]:
    """What the numbers are, and where published ones are from."""
    if not any(row.published for table in tables for row in table.rows):
        return [LEGEND]
    return [LEGEND, f"{PUBLISHED} Source: {published()['source']}."]


def _label(row: TableRow) -> str:
    return f"{row.defence}, published" if row.published else row.defence


def _markdown_table(table: ModelTable) -> str:
    """Header, purposes as a first row, and a row for every defence."""
    lines = [f"**{_markdown(table.model)}**, judged by {_markdown(table.judge)}", ""]
    lines += [f"- **Warning:** {_markdown(warning)}" for warning in table.warnings]
    lines += [""] * bool(table.warnings)
    heads = [f"{_markdown(c.title)}<br>{HEADINGS[c.purpose].partition(':')[0]}, {c.unit}" for c in table.columns]
    lines += [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for row in table.rows:
        cells = [cell(v, c, published=row.published) for c, v in zip(table.columns, row.values, strict=True)]
        label = f"*{_markdown(_label(row))}*" if row.published else _markdown(row.defence)
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _latex_table(table: ModelTable) -> str:
    spans = [f"\\multicolumn{{{n}}}{{c}}{{{_latex(HEADINGS[purpose])}}}" for purpose, n in table.purposes()]
    heads = [f"\\shortstack{{{_latex(c.title)}\\\\{_latex(c.unit)}}}" for c in table.columns]
    lines = [
        *(f"% Warning: {_one_line(warning)}" for warning in table.warnings),
        "\\begin{table*}",
        f"\\caption{{{_latex(table.model)}, judged by {_latex(table.judge)}.}}",
        "\\resizebox{\\textwidth}{!}{%",
        f"\\begin{{tabular}}{{l{'c' * len(table.columns)}}}",
        "\\hline",
        f" & {' & '.join(spans)} \\\\",
        f" & {' & '.join(heads)} \\\\",
        "\\hline",
    ]
    for row in table.rows:
        cells = [_latex_cell(v, c, row.published) for c, v in zip(table.columns, row.values, strict=True)]
        label = f"\\textit{{{_latex(_label(row))}}}" if row.published else _latex(row.defence)
        lines.append(f"{label} & {' & '.join(cells)} \\\\")
    return "\n".join([*lines, "\\hline", "\\end{tabular}}", "\\end{table*}"])


def _latex_cell(value: Value | None, column: Column, published: bool) -> str:
    if value is None:
        return "--"
    if published:
        return f"\\textit{{{cell(value, column, published=True)}}}"
    number, *small = parts(value, column)
    stacked = "\\\\".join([number, *(f"{{\\scriptsize {part}}}" for part in small if part)])
    return f"\\shortstack{{{stacked}}}"


_LATEX = {
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


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in _one_line(text))


def _markdown(text: str) -> str:
    escaped = _one_line(text).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{letter}" if letter in "\\|*_`[]" else letter for letter in escaped)


def _one_line(text: str) -> str:
    return " ".join(text.split())
