"""`davsp demo`: the main job on a testbed model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from davsp.cli.options import (
    DTYPE_HELP,
    TESTBED,
    AsJson,
    Out,
    Precision,
    Seed,
    long_running,
    print_json,
)
from davsp.models.shipped import SHIPPED, SMOL
from davsp.testbed.sources import FOLDER_VARIABLE


@long_running
def demo(
    out: Out = Path("runs/demo"),
    model: Annotated[str, typer.Option("--model", "-m", help=f"One of {', '.join(SHIPPED)}.")] = TESTBED,
    seed: Seed = 0,
    per_group: Annotated[
        int | None, typer.Option(min=1, help=f"Test queries of each group; default: 32, on {SMOL} 20.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help=f"Training steps of each prompt; on {SMOL} none is trained.")
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(help=f"Of {SMOL}: the folder of public texts; default: that which {FOLDER_VARIABLE} names."),
    ] = None,
    dtype: Annotated[
        Precision, typer.Option(envvar="DAVSP_DTYPE", help=f"{DTYPE_HELP} On {SMOL} auto is fast.")
    ] = Precision.AUTO,
    as_json: AsJson = False,
) -> None:
    """The main job on a testbed model: defences made and evaluated, and a report. The same command goes on.

    In the testbed's drawn world a prompt and three ablations are trained, and six defences compared. On the model that
    reads English a gate is fitted, and compared alone and before the safety prefix.
    """
    from rich.console import Console

    from davsp.demo import run_demo
    from davsp.report.terminal import print_table

    results, page = run_demo(
        out, model, seed=seed, per_group=per_group, steps=steps, texts=texts, dtype=dtype, quiet=as_json
    )
    if as_json:
        print_json(results.to_json())
        return
    print_table(results, Console())
    print(f"Report: {page}")
