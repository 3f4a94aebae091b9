"""`davsp vector` and `davsp train`: the harmfulness vector, and the prompt trained along it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from davsp.cli import completion
from davsp.cli.options import (
    DATA_HELP,
    DTYPE_HELP,
    MODEL_HELP,
    TESTBED,
    TRAINING_SPLITS,
    AsJson,
    BatchSize,
    Data,
    Device,
    Dtype,
    ModelName,
    Out,
    PerGroup,
    Precision,
    Revision,
    Seed,
    SkipBad,
    TrainingBenchmarks,
    Validation,
    load_model,
    long_running,
    print_folder,
    queries_of,
    say,
    training_queries,
    training_source,
)
from davsp.errors import InputError
from davsp.training.choices import Direction, FitOn
from davsp.util.verbosity import Verbosity, verbosity

if TYPE_CHECKING:
    from rich.table import Table

    from davsp.data.query import Query
    from davsp.models.base import VisionLanguageModel
    from davsp.training.vector import HarmfulnessVector


@long_running
def vector(
    out: Out,
    model: ModelName = TESTBED,
    data: Data = None,
    benchmarks: TrainingBenchmarks = None,
    validation: Validation = None,
    per_group: PerGroup = None,
    prefix: Annotated[str | None, typer.Option(help="Safety prefix before every question; '' for none.")] = None,
    layer: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Decoder layer. Default: the earliest whose separation of the validation queries (d) is within one "
            "standard error of the best.",
        ),
    ] = None,
    direction: Annotated[
        Direction,
        typer.Option(
            help="mean: difference of the means of malicious and benign queries. matched: the same within kinds of "
            "query. lda: that, whitened: a linear discriminant. logistic: logistic regression."
        ),
    ] = Direction.MEAN,
    texts: Annotated[
        bool, typer.Option("--texts", help="Make it from the queries' requests asked as text, where they are known.")
    ] = False,
    directions: Annotated[
        Path | None, typer.Option(help="An official vector file to be measured, instead of one's own directions.")
    ] = None,
    batch_size: BatchSize = 32,
    skip_bad: SkipBad = False,
    seed: Seed = 0,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = Precision.AUTO,
    as_json: AsJson = False,
) -> None:
    """Extract the harmfulness vector: the direction that tells malicious from benign queries, at every layer."""
    from rich.console import Console

    from davsp.prompts.official import read_directions
    from davsp.prompts.text import SAFETY_PREFIX
    from davsp.training.jobs import say_layer
    from davsp.training.vector import extract_vector
    from davsp.util.processes import processes
    from davsp.util.progress import bar

    training, checks = training_queries(
        training_source(data, benchmarks), validation, skip_bad, seed, model, per_group=per_group
    )
    loaded = load_model(model, revision, device, dtype)
    read = len(checks) if directions else len(training) + len(checks)
    with bar("Reading hidden states", read) as advance:
        measured = extract_vector(
            loaded,
            training,
            checks,
            prefix=SAFETY_PREFIX if prefix is None else prefix,
            layer=layer,
            batch_size=batch_size,
            advance=advance,
            directions=read_directions(directions) if directions else None,
            direction=direction,
            fit_on=FitOn.TEXTS if texts else FitOn.IMAGES,
        )
    if processes().is_main:
        measured.save(out)
        if verbosity() is not Verbosity.QUIET:
            Console(stderr=True).print(_vector_table(measured))
        if layer is None:
            say_layer(measured)
    print_folder(out, as_json)


def _vector_table(vector: HarmfulnessVector) -> Table:
    """The statistics of every layer as a table; the chosen layer is marked."""
    from rich.table import Table

    table = Table(title="Projections of the validation queries, by decoder layer", title_justify="left")
    for heading in ("layer", "malicious", "benign", "AUROC", "separation (d)", ""):
        table.add_column(heading, justify="right")
    for s in vector.statistics:
        table.add_row(
            str(s.layer),
            f"{s.malicious_mean:.2f} ± {s.malicious_std:.2f}",
            f"{s.benign_mean:.2f} ± {s.benign_std:.2f}",
            f"{s.auroc:.3f}",
            f"{s.separation:.2f} ± {s.separation_error:.2f}",
            "chosen" if s.layer == vector.layer else "",
        )
    return table


def _print_options(wanted: bool) -> None:
    """Print the training options and stop, before anything that `davsp train` needs is missed."""
    if not wanted:
        return
    from rich.console import Console

    from davsp.training.config import PAPER, TrainConfig
    from davsp.training.recipes import TrainingRecipe
    from davsp.util.options import options_table

    console = Console()
    console.print(options_table(TrainConfig, "Training options, for --set and recipes", {"the paper's": PAPER}))
    console.print("--paper starts from the paper's values; where none is shown, it is the default.\n")
    console.print(options_table(TrainingRecipe, "What a recipe holds, for --recipe"))
    raise typer.Exit


@long_running
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
            "--model",
            "-m",
            envvar="DAVSP_MODEL",
            help=f"{MODEL_HELP} Repeatable: one prompt for several models.",
            autocompletion=completion.models,
        ),
    ] = None,
    data: Annotated[str | None, typer.Option("--data", "-d", help=DATA_HELP)] = None,
    benchmarks: TrainingBenchmarks = None,
    validation: Validation = None,
    per_group: PerGroup = None,
    lookalikes: Annotated[
        str | None,
        typer.Option(help="Harmless queries that look harmful, whatever --data takes: trained with, and told apart."),
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One of --options: steps=500. Repeatable.")] = None,
    paper: Annotated[bool, typer.Option("--paper", help="Start from the paper's choices instead of ours.")] = False,
    options: Annotated[  # noqa: ARG001 - the callback prints
        bool,
        typer.Option(
            "--options", callback=_print_options, is_eager=True, help="Print every training option, and stop."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and what it would cost.")
    ] = False,
    gate: Annotated[
        bool,
        typer.Option("--gate", help="Fit a gate, too: queries in which the model sees no harm are answered as ever."),
    ] = False,
    pick: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="STEP",
            help="Train nothing: of the finished training in --out, make the prompt that it had after this step the "
            "one that is kept.",
        ),
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write TensorBoard logs.")] = False,
    trackio: Annotated[bool, typer.Option("--trackio", help="Also log to trackio, project davsp.")] = False,
    skip_bad: SkipBad = False,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Annotated[Precision | None, typer.Option(envvar="DAVSP_DTYPE", help=DTYPE_HELP)] = None,
    as_json: AsJson = False,
) -> None:
    """Train a visual safety prompt. The same command goes on with a run that was stopped."""
    import json

    from davsp import api
    from davsp.training.config import read_config
    from davsp.training.jobs import dry_run as describe
    from davsp.training.jobs import vector_for
    from davsp.training.lookalikes import with_lookalikes
    from davsp.training.objective import check_options
    from davsp.training.recipes import TrainingRecipe, read_recipe
    from davsp.training.run_state import Interrupted
    from davsp.training.vector import HarmfulnessVector

    if pick is not None:
        if any((vectors, recipe, data, benchmarks, validation, per_group, lookalikes, set_, paper, dry_run, gate)):
            raise InputError("--pick takes a prompt of a finished training: give it with --out alone.")
        print_picked(out, pick)
        return
    run = read_recipe(recipe) if recipe else TrainingRecipe(model=TESTBED, data=TESTBED)
    settings = read_config(run.train, set_ or [], paper or run.paper)
    given = [HarmfulnessVector.load(folder) for folder in vectors or []]
    names = models or [run.model]
    if given and len(given) != len(names):
        raise InputError(f"{len(names)} models and {len(given)} vectors: give a --vector for each --model, in order.")
    source = training_source(data, benchmarks, run.data)
    judging = validation or (None if data or benchmarks else run.validation)
    training, checks = training_queries(source, judging, skip_bad, settings.seed, *names, per_group=per_group)
    if lookalikes:
        alike = queries_of(lookalikes, skip_bad, TRAINING_SPLITS)
        training, checks = with_lookalikes(training, checks, alike, api.HELD_OUT, settings.seed)
    revision = revision or (None if models else run.revision)
    loaded = [load_model(name, revision, device, dtype or Precision(run.dtype)) for name in names]
    if dry_run:
        for model in loaded:
            check_options(model, settings)  # what does not suit is found before the vector takes its time
        directions = given or [
            vector_for(
                model,
                training,
                checks,
                settings.prefix,
                None,
                direction=settings.direction,
                fit_on=settings.fit_on,
            )
            for model in loaded
        ]
        for model, direction in zip(loaded, directions, strict=True):
            direction.check(model, settings.prefix)
        pairs = list(zip(loaded, directions, strict=True))
        print(json.dumps(describe(pairs, settings, training, checks), indent=2))
        return
    chosen = settings.model_dump()
    fit_gate = gate_fitting(loaded, training, checks, out) if gate else None
    try:
        api.train(
            loaded,
            training,
            validation=checks,
            vectors=given,
            out=out,
            tensorboard=tensorboard,
            trackio=trackio,
            **chosen,
        )
    except Interrupted as stop:
        say(f"\nStopped after step {stop.step}; the state is saved. The same command goes on from there.")
        raise typer.Exit(130) from stop
    if fit_gate:
        fit_gate()
    print_folder(out, as_json)


def print_picked(folder: Path, step: int) -> None:
    """Pick a prompt of a finished training, and say what it did on the validation queries."""
    from davsp.defences.picking import pick

    training = pick(folder, step).training
    found = ", ".join(f"{name} {value:.4g}" for name, value in training.metrics.items()) if training else ""
    say(f"Kept: the prompt after step {step} ({found}).")
    print(folder)


def gate_fitting(
    models: list[VisionLanguageModel], training: list[Query], checks: list[Query], out: Path
) -> Callable[[], object]:
    """What fits the gate of a prompt. Raises InputError, before any training, where none can be fitted."""
    from davsp.defences.base import FittingData
    from davsp.defences.calibration import check_enough
    from davsp.defences.gate import Gate, GateFitOptions
    from davsp.defences.loading import GATE

    if len(models) > 1:
        raise InputError(
            "--gate: a gate reads one model, and the prompt is for several: fit one for each, davsp fit gate."
        )
    options = GateFitOptions()
    check_enough(sum(not query.malicious for query in checks), options.rate, options.confidence)
    return partial(Gate.fit, models[0], options, FittingData(training, checks), out / GATE)
