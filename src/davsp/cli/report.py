"""`davsp report`: pages and tables of evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from davsp.cli.options import AsJson, long_running, print_json
from davsp.errors import InputError


@long_running
def report(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders written by `davsp evaluate` or `davsp demo`, or folders of such.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the page and tables; default: the first folder.")
    ] = None,
    judge_validations: Annotated[
        list[Path] | None,
        typer.Option("--judge-validation", help="What `davsp judge validate --json` printed. Repeatable."),
    ] = None,
    viewer: Annotated[
        bool, typer.Option("--viewer", help="Also write Inspect's viewer of all logs (20 MB and the logs).")
    ] = False,
    interactive: Annotated[
        bool,
        typer.Option("--interactive", help="Tables can be sorted and filtered: the page then runs a script of ours."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write one evaluation's page again; or of several, one page with the paper's tables, and files of them."""
    from davsp.report.collect import collect
    from davsp.report.comparison import write_comparison
    from davsp.results import RESULTS

    [first, *further] = folders
    if out is None and not further and (first / RESULTS).is_file():
        if viewer:
            raise InputError(f"{first} is one evaluation with a page of its own: give --out, and there will be tables.")
        from davsp.report.evaluation import rebuild_report

        page = rebuild_report(first, judge_validations or [], interactive=interactive)
    else:
        page = write_comparison(
            folders, out or first, judge_validations=judge_validations or [], viewer=viewer, interactive=interactive
        )
    if as_json:
        print_json([evaluation.results.to_json() for evaluation in collect(folders)])
    else:
        print(page)
