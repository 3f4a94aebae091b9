"""Tables as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from davsp.report.cells import HEADINGS, cell, legends, one_line, row_label
from davsp.report.tables import ModelTable


def markdown(tables: Sequence[ModelTable]) -> str:
    """All tables, one below the other."""
    return "\n\n".join([*map(_table, tables), *legends(tables)]) + "\n"


def _table(table: ModelTable) -> str:
    """Header, purposes as a first row, and a row for every defence."""
    lines = [f"**{_escaped(table.model)}**, judged by {_escaped(table.judge)}", ""]
    lines += [f"- **Warning:** {_escaped(warning)}" for warning in table.warnings]
    lines += [""] * bool(table.warnings)
    heads = [
        f"{_escaped(c.title)}<br>{HEADINGS[c.purpose].partition(':')[0]}, {_escaped(c.unit)}" for c in table.columns
    ]
    lines += [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for row in table.rows:
        cells = [cell(v, c, published=row.published) for c, v in zip(table.columns, row.values, strict=True)]
        label = f"*{_escaped(row_label(row))}*" if row.published else _escaped(row.defence)
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    escaped = one_line(text).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{letter}" if letter in "\\|*_`[]" else letter for letter in escaped)
