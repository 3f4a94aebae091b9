"""HTML pages that need nothing but themselves."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

from davsp.errors import InputError
from davsp.report.rows import SHORT, cost_rows, format_rate, percent, summary_measures, summary_rows

PAGE = "report.html"


class Script(NamedTuple):
    """A script of ours, and the digest by which a page's Content-Security-Policy lets it alone run."""

    text: Any
    digest: str


def interactive_script() -> Script:
    """What sorts and filters a page's tables."""
    from markupsafe import Markup

    text = (Path(__file__).parent / "interactive.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Script(Markup(text), f"sha256-{digest}")  # noqa: S704 - our own script


def render(template: str, *, interactive: bool = False, **shown: Any) -> str:
    """A page from a template of this folder. All that is `shown` is escaped, but for Markup. `interactive`: its tables
    can be sorted and filtered, by a script of ours; without it no script runs."""
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
    script = interactive_script() if interactive else None
    return environment.get_template(template).render(script=script, **shown)


def check_can_draw() -> None:
    """Raise InputError unless Matplotlib is installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("Figures need Matplotlib, which is not installed. Run: pip install 'davsp[eval]'")
