"""HTML pages that need nothing but themselves."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from davsp.errors import InputError
from davsp.report.rows import SHORT, cost_rows, format_rate, percent, summary_measures, summary_rows

PAGE = "report.html"


def render(template: str, **shown: Any) -> str:
    """A page from a template of this folder. All that is `shown` is escaped, but for Markup."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=False,
    )
    environment.globals |= {
        "percent": percent,
        "format_rate": format_rate,
        "short": SHORT,
        "summary_measures": summary_measures,
        "summary_rows": summary_rows,
        "cost_rows": cost_rows,
    }
    return environment.get_template(template).render(**shown)


def check_can_draw() -> None:
    """Raise InputError unless Matplotlib is installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("Figures need Matplotlib, which is not installed. Run: pip install 'davsp[eval]'")
