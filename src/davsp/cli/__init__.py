"""The command line. Every command parses its options, calls the library and prints what came of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from davsp import __version__
from davsp.cli.apply import apply, ask
from davsp.cli.attack import attack
from davsp.cli.benchmark import benchmark_app
from davsp.cli.data import data_app
from davsp.cli.demo import demo
from davsp.cli.evaluate import evaluate
from davsp.cli.fit import fit
from davsp.cli.judge import judge_app
from davsp.cli.official import official_app
from davsp.cli.report import report
from davsp.cli.reproduce import reproduce
from davsp.cli.serve import serve
from davsp.cli.show import show
from davsp.cli.testbed import testbed_app
from davsp.cli.train import train, vector
from davsp.cli.ui import ui
from davsp.util.failures import ending_in_a_line
from davsp.util.provenance import running

app = typer.Typer(
    help="Harden a frozen vision-language model with a trained visual safety prompt.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
IN_ORDER: Mapping[str, Sequence[Callable[..., None] | tuple[str, typer.Typer]]] = {
    "Train": (vector, train, fit, ("data", data_app), ("official", official_app)),
    "Measure": (evaluate, attack, ("benchmark", benchmark_app), ("judge", judge_app)),
    "Use": (show, ask, apply, serve, ui),
    "Compare": (report, reproduce),
    "Testbed": (demo, ("testbed", testbed_app)),
}
"""The commands in the order of the work, by the headings under which --help shows them."""
for heading, commands in IN_ORDER.items():
    for command in commands:
        if isinstance(command, tuple):
            app.add_typer(command[1], name=command[0], rich_help_panel=heading)
        else:
            app.command(rich_help_panel=heading)(command)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"davsp {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line. Errors on purpose, and of files, become one message and status 2; Ctrl-C becomes 130.

    Of several processes, the first alone prints results.
    """
    rank = int(os.environ.get("RANK", "0"))
    with (
        running(sys.argv[1:]),
        Path(os.devnull).open("w") as nothing,
        redirect_stdout(nothing) if rank else nullcontext(),
        ending_in_a_line(rank),
    ):
        app()
