"""The command line. Every command parses its options, calls the library and prints what came of it."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from davsp import __version__
from davsp.cli.benchmark import benchmark_app
from davsp.cli.evaluate import evaluate
from davsp.cli.fit import fit
from davsp.cli.judge import judge_app
from davsp.cli.official import official_app
from davsp.cli.options import (
    DATA_HELP,
    DEFENCE_HELP,
    DTYPE_HELP,
    MODEL_HELP,
    TESTBED,
    BatchSize,
    Data,
    Device,
    Dtype,
    ModelName,
    Out,
    Precision,
    PromptFolder,
    Revision,
    Seed,
    SkipBad,
    Validation,
    load_model,
    say,
    training_queries,
)
from davsp.cli.report import report
from davsp.cli.testbed import testbed_app
from davsp.errors import DavspError, InputError

app = typer.Typer(
    help="Harden a frozen vision-language model with a trained visual safety prompt.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(testbed_app, name="testbed")
app.add_typer(official_app, name="official")
app.add_typer(benchmark_app, name="benchmark")
app.add_typer(judge_app, name="judge")
app.command()(fit)
app.command()(evaluate)
app.command()(report)


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


@app.command()
def vector(
    out: Out,
    model: ModelName = TESTBED,
    data: Data = TESTBED,
    validation: Validation = None,
    prefix: Annotated[str | None, typer.Option(help="Safety prefix before every question; '' for none.")] = None,
    layer: Annotated[int | None, typer.Option(min=1, help="Decoder layer; default: the best on validation.")] = None,
    directions: Annotated[
        Path | None, typer.Option(help="An official vector file to be measured, instead of one's own directions.")
    ] = None,
    batch_size: BatchSize = 32,
    skip_bad: SkipBad = False,
    seed: Seed = 0,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = Precision.AUTO,
) -> None:
    """Extract the harmfulness vector: the direction that tells malicious from benign queries, at every layer."""
    from rich.console import Console

    from davsp.chat import SAFETY_PREFIX
    from davsp.official import read_directions
    from davsp.processes import processes
    from davsp.progress import bar
    from davsp.vector import extract_vector, vector_table

    fitting, checks = training_queries(data, validation, skip_bad, seed, model)
    loaded = load_model(model, revision, device, dtype)
    read = len(checks) if directions else len(fitting) + len(checks)
    with bar("Reading hidden states", read) as advance:
        found = extract_vector(
            loaded,
            fitting,
            checks,
            prefix=SAFETY_PREFIX if prefix is None else prefix,
            layer=layer,
            batch_size=batch_size,
            advance=advance,
            directions=read_directions(directions) if directions else None,
        )
    if processes().leads:
        found.save(out)
        Console(stderr=True).print(vector_table(found))
    print(out)


@app.command()
def train(
    out: Out,
    vectors: Annotated[
        list[Path] | None,
        typer.Option(
            "--vector",
            help="Folder written by `davsp vector`, one for each model; by default they are made first, in --out.",
        ),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="YAML file of model, data and training options; options here go before it.")
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", envvar="DAVSP_MODEL", help=f"{MODEL_HELP} Repeatable: one prompt for several models."
        ),
    ] = None,
    data: Annotated[str | None, typer.Option("--data", "-d", help=DATA_HELP)] = None,
    validation: Validation = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One training option: steps=500. Repeatable.")] = None,
    paper: Annotated[bool, typer.Option("--paper", help="Start from the paper's choices instead of ours.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and what it would cost.")
    ] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write TensorBoard logs.")] = False,
    skip_bad: SkipBad = False,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Annotated[Precision | None, typer.Option(envvar="DAVSP_DTYPE", help=DTYPE_HELP)] = None,
) -> None:
    """Train a visual safety prompt. The same command goes on with a run that was stopped."""
    import json

    from davsp.config import read_config
    from davsp.objective import lay_out
    from davsp.pipeline import dry_run as describe
    from davsp.pipeline import train_prompt, vector_for
    from davsp.recipes import Recipe, read_recipe
    from davsp.train import Interrupted
    from davsp.vector import HarmfulnessVector

    told = read_recipe(recipe) if recipe else Recipe(model=TESTBED, data=TESTBED)
    settings = read_config(told.train, set_ or [], paper or told.paper)
    given = [HarmfulnessVector.load(folder) for folder in vectors or []]
    names = models or [told.model]
    if given and len(given) != len(names):
        raise InputError(f"{len(names)} models and {len(given)} vectors: give a --vector for each --model, in order.")
    training, checks = training_queries(
        data or told.data, validation or (None if data else told.validation), skip_bad, settings.seed, names[0]
    )
    revision = revision or (None if models else told.revision)
    loaded = [load_model(name, revision, device, dtype or Precision(told.dtype)) for name in names]
    for model in loaded:
        lay_out(model, settings)  # what does not suit is found before the vector takes its time
    folders = [None if dry_run else out / (f"vector_{i + 1}" if i else "vector") for i in range(len(names))]
    directions = given or [
        vector_for(model, training, checks, settings.prefix, folder)
        for model, folder in zip(loaded, folders, strict=True)
    ]
    pairs = list(zip(loaded, directions, strict=True))
    if dry_run:
        print(json.dumps(describe(pairs, settings, training, checks), indent=2))
        return
    try:
        train_prompt(pairs, settings, training, checks, out, tensorboard=tensorboard)
    except Interrupted as stop:
        say(f"\nStopped after step {stop.step}; the state is saved. The same command goes on from there.")
        raise typer.Exit(130) from stop
    print(out)


@app.command()
def apply(
    prompt: PromptFolder,
    source: Annotated[str, typer.Argument(help="An image, a folder of images, or - for standard input.")],
    target: Annotated[str, typer.Argument(help="A .png file, a folder, or - for standard output.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Images at a time; default: one for each core.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also write what is there and up to date.")] = False,
) -> None:
    """Put the prompt's border around images. The safety prefix in config.json belongs before the question."""
    from davsp.apply import apply_to_file, apply_to_folder, apply_to_stream
    from davsp.artefact import VisualSafetyPrompt
    from davsp.stored import CONFIG

    loaded = VisualSafetyPrompt.load(prompt)
    if (source == "-") != (target == "-"):
        raise InputError("standard input goes with standard output: give - for both.")
    if source == "-":
        sys.stdout.buffer.write(apply_to_stream(loaded, sys.stdin.buffer.read()))
    elif not Path(source).is_dir():
        apply_to_file(loaded, Path(source), Path(target))
    else:
        made = (prompt / CONFIG).stat().st_mtime
        done = apply_to_folder(
            loaded, Path(source), Path(target), workers=workers, overwrite=overwrite, prompt_time=made
        )
        say(f"{done.written} written, {done.skipped} up to date, {len(done.failed)} failed.")
        if done.failed:
            raise InputError("\n".join(done.failed))


@app.command()
def ask(
    image: Annotated[Path, typer.Argument(help="An image file.")],
    question: Annotated[str, typer.Argument()],
    defence: Annotated[str, typer.Option("--defence", help=DEFENCE_HELP)] = "none",
    model: ModelName = TESTBED,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 256,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = Precision.AUTO,
) -> None:
    """Ask the model one question about one image, with or without a defence."""
    from davsp.baselines import check_defence, load_defence
    from davsp.images import open_image
    from davsp.pipeline import answer_behind
    from davsp.samples import Query, check_question

    check_question(question, "the question")
    open_image(image)
    chosen = load_defence(defence)
    loaded = load_model(model, revision, device, dtype)
    check_defence(chosen, loaded)
    print(answer_behind(loaded, chosen, Query(id=str(image), image=image, question=question), max_new_tokens))


@app.command()
def demo(
    out: Out = Path("runs/demo"),
    model: Annotated[str, typer.Option("--model", "-m", help="A testbed model.")] = TESTBED,
    seed: Seed = 0,
    per_group: Annotated[int, typer.Option(min=1, help="Test queries of each group.")] = 32,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps of each prompt.")] = None,
    json_only: Annotated[bool, typer.Option("--json", help="Print only the results, as JSON.")] = False,
) -> None:
    """The main job on the embedded testbed: vector, training, evaluation of six defences, report."""
    import json

    from rich.console import Console

    from davsp.demo import run_demo
    from davsp.report.evaluation import print_table

    results, page = run_demo(out, model, seed=seed, per_group=per_group, steps=steps, quiet=json_only)
    if json_only:
        print(json.dumps(results))
        return
    print_table(results, Console())
    print(f"Report: {page}")


def main() -> None:
    """Run the command line. Errors on purpose, and of files, become one message and status 2; Ctrl-C becomes 130.

    Of several processes, the first alone prints results.
    """
    rank = int(os.environ.get("RANK", "0"))
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing) if rank else nullcontext():
        try:
            app()
        except DavspError as error:
            say(f"Error in process {rank}: {error}" if rank else f"Error: {error}")
            sys.exit(2)
        except OSError as error:
            say(f"Error: {str(error.filename)[:200]}: {error.strerror}." if error.filename else f"Error: {error}.")
            sys.exit(2)
