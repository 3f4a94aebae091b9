"""`davsp demo`: the main job on the embedded testbed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from davsp.cli.options import (
    TESTBED,
    AsJson,
    Out,
    Seed,
    long_running,
    print_json,
)


@long_running
def demo(
    out: Out = Path("runs/demo"),
    model: Annotated[str, typer.Option("--model", "-m", help="A testbed model.")] = TESTBED,
    seed: Seed = 0,
    per_group: Annotated[int, typer.Option(min=1, help="Test queries of each group.")] = 32,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps of each prompt.")] = None,
    as_json: AsJson = False,
) -> None:
    """The main job on the embedded testbed: vector, training, evaluation of six defences, report."""
    from rich.console import Console

    from davsp.demo import run_demo
    from davsp.report.terminal import print_table

    results, page = run_demo(out, model, seed=seed, per_group=per_group, steps=steps, quiet=as_json)
    if as_json:
        print_json(results.to_json())
        return
    print_table(results, Console())
    print(f"Report: {page}")
