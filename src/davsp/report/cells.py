"""The cells, headings and legends of tables, which pages and files share."""

from __future__ import annotations

from collections.abc import Sequence

from davsp.benchmarks.base import Purpose
from davsp.report.tables import Column, ModelTable, TableRow, Value, published

HEADINGS = {
    Purpose.SAFETY: "Safety: higher is better",
    Purpose.USEFULNESS: "Usefulness: higher is better",
    Purpose.OVER_REFUSAL: "Over-refusal: lower is better",
}
LEGEND = (
    "RSR: malicious queries resisted. Right: benign queries answered right. Same as undefended: benign queries "
    "without a reference answer, answered as the model answers them undefended. Refused: harmless queries refused. In "
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


def row_label(row: TableRow) -> str:
    """The defence, and whether its values are published ones."""
    return f"{row.defence}, published" if row.published else row.defence


def source_of_published(tables: Sequence[ModelTable]) -> str:
    """What published values are, and where they are from; "" where the tables have none."""
    if not any(row.published for table in tables for row in table.rows):
        return ""
    return f"{PUBLISHED} Source: {published()['source']}."


def legends(tables: Sequence[ModelTable]) -> list[str]:
    """What the numbers are, and where published ones are from."""
    return [text for text in (LEGEND, source_of_published(tables)) if text]


def one_line(text: str) -> str:
    """The text without line breaks, which would end a row of a table."""
    return " ".join(text.split())
