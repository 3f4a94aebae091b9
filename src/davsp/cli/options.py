"""Options that commands share, and what is made of them."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from davsp.cli import completion
from davsp.data.conversation import Role
from davsp.defences import DEFENCES
from davsp.errors import DavspError, InputError
from davsp.models.shipped import OF_THE_WORLD, SHIPPED, SMOL
from davsp.testbed.sources import check_world, draw_source, is_drawn, is_testbed
from davsp.util.provenance import reads
from davsp.util.verbosity import Verbosity, telling, verbosity

if TYPE_CHECKING:
    from davsp.data.query import Query
    from davsp.defences.base import Defence
    from davsp.models.base import VisionLanguageModel

TESTBED = "testbed"
TRAINING_SPLITS = ("train",)
VALIDATION_SPLITS = ("validation", "test", "train")
TEST_SPLITS = ("test", "validation", "train")
"""Which part of a data set is read where none is named, the first that is there."""


class Precision(StrEnum):
    AUTO = "auto"
    FAST = "fast"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    BITS8 = "8bit"
    BITS4 = "4bit"


MODEL_HELP = (
    f"Local folder or hub id; shipped are {' and '.join(OF_THE_WORLD)}, and {SMOL} where `{SHIPPED[SMOL].fetched_by}` "
    "was run."
)
SERVED_HELP = (
    f"{MODEL_HELP} Or a model on an OpenAI-compatible server: URL=NAME, such as http://127.0.0.1:8000/v1=my-model, or "
    "openai-api/SERVICE/NAME."
)
DATA_HELP = (
    "Queries: a .jsonl, .json, .csv or .parquet file, or a folder or data set of the hub, owner/name@revision, of "
    "which ':split' or ':configuration/split' chooses a part; 'testbed' are the testbed's, 'testbed@112' the same in "
    "images of 112 pixels, 'testbed@96-144' in images of many sizes and shapes; 'smol=FOLDER' are requests of public "
    "benchmarks, whose texts are in that folder, or that which DAVSP_TEXTS names, drawn into images."
)
DEFENCE_HELP = (
    "A folder that `davsp train` or `davsp fit` wrote, or the name of a defence that needs neither, with options after "
    f"a colon: eta:reward=FOLDER,clip=FOLDER. There are {', '.join(DEFENCES.names())}. Or a class of your own, "
    "module:Class, that can be imported or lies in a file here."
)
DEFENCE_OPTION = ("--defence", "--defense")
AGAINST_HELP = (
    "A defence that the attack knows and goes through: a folder, or a name, as --defence takes them. Of several, all "
    "are to give in at once. Repeatable; default: the model alone."
)
DTYPE_HELP = (
    "Precision of the model's weights. auto: float32 on a CPU, else the checkpoint's own; fast: bfloat16 on CPUs that "
    "answer faster in it."
)
ModelName = Annotated[
    str,
    typer.Option("--model", "-m", envvar="DAVSP_MODEL", help=MODEL_HELP, autocompletion=completion.models),
]
ServedModelName = Annotated[
    str,
    typer.Option("--model", "-m", envvar="DAVSP_MODEL", help=SERVED_HELP, autocompletion=completion.models),
]
Revision = Annotated[str | None, typer.Option(help="Revision of a hub model.")]
Device = Annotated[
    str, typer.Option(envvar="DAVSP_DEVICE", help="auto, cpu, cuda, cuda:1 ..., or split: over all GPUs.")
]
Dtype = Annotated[Precision, typer.Option(envvar="DAVSP_DTYPE", help=DTYPE_HELP)]
Against = Annotated[list[str] | None, typer.Option(help=AGAINST_HELP, autocompletion=completion.defences)]
Data = Annotated[str | None, typer.Option("--data", "-d", help=f"{DATA_HELP} Default: testbed.")]
TrainingBenchmarks = Annotated[
    list[str] | None,
    typer.Option(
        "--benchmark",
        help="Instead of --data, a published benchmark: NAME, NAME:VARIANT, NAME=FOLDER or NAME:VARIANT=FOLDER, such "
        "as mm_vet:paper-train=data/MM-Vet. Repeatable: all are trained on together.",
        autocompletion=completion.benchmarks,
    ),
]
Validation = Annotated[
    str | None, typer.Option(help="Queries that judge and choose; by default one in five of those to train on.")
]
PerGroup = Annotated[
    int | None,
    typer.Option(
        min=1, help="Of data that is drawn: queries of each kind and side to train with; half as many judge and choose."
    ),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave unusable records out, and say how many.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Output folder.")]
Seed = Annotated[int, typer.Option(min=0, envvar="DAVSP_SEED")]
BatchSize = Annotated[int, typer.Option(min=1)]
MIN_PIXELS_HELP = "The least pixels of an image in all that the model's server leaves as it is; default: as trained."
MAX_PIXELS_HELP = "The most pixels of an image in all that the model's server leaves as it is; default: as trained."
MinPixels = Annotated[int | None, typer.Option("--min-pixels", min=1, help=MIN_PIXELS_HELP)]
MaxPixels = Annotated[int | None, typer.Option("--max-pixels", min=1, help=MAX_PIXELS_HELP)]
BorderOn = Annotated[
    list[Role] | None,
    typer.Option(
        "--border-on",
        help="Whose images are defended too, beside a user's, in conversations that have such: tool, system or "
        "assistant. Repeatable.",
    ),
]
PromptFolder = Annotated[Path, typer.Argument(help="A saved visual safety prompt.")]


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no remarks; warnings and errors stay.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Also what the libraries in use log, and where an error came from.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print what comes out as JSON.")]


def long_running(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options -q and -v, which hold while it runs."""

    @functools.wraps(command)
    def told(*arguments: Any, quiet: bool = False, verbose: bool = False, **options: Any) -> None:
        if quiet and verbose:
            raise InputError("give either --quiet or --verbose.")
        level = Verbosity.QUIET if quiet else Verbosity.VERBOSE if verbose else Verbosity.NORMAL
        with telling(level):
            try:
                command(*arguments, **options)
            except (DavspError, OSError):
                if level is Verbosity.VERBOSE:
                    import traceback

                    traceback.print_exc()
                raise

    own = inspect.signature(command, eval_str=True)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in (("quiet", Quiet), ("verbose", Verbose))
    ]
    told.__signature__ = own.replace(parameters=[*own.parameters.values(), *added])  # type: ignore[attr-defined]
    return told


def say(text: str) -> None:
    """A remark for the person at the terminal; results alone go to standard output."""
    if verbosity() is not Verbosity.QUIET:
        print(text, file=sys.stderr)


def warn(text: str) -> None:
    """What the person at the terminal must know, however quiet the command is."""
    print(text, file=sys.stderr)


def print_folder(folder: Path, as_json: bool) -> None:
    """The folder that a command wrote; as JSON, all that `davsp show --json` says of it."""
    from davsp.cli.show import describe
    from davsp.util.processes import processes

    if not as_json:
        print(folder)
    elif processes().is_main:
        print_json({"path": str(folder), **describe(folder)})


def print_json(content: Any) -> None:
    """What came out of a command, as a document on standard output."""
    import json

    print(json.dumps(content, indent=2, ensure_ascii=False))


def load_model(name: str, revision: str | None, device: str, dtype: Precision) -> VisionLanguageModel:
    from transformers.utils import logging

    from davsp.models import loading
    from davsp.models.hardware import cpu_is_fast_in_bfloat16

    if verbosity() is Verbosity.QUIET:
        logging.disable_progress_bar()
    if verbosity() is Verbosity.VERBOSE:
        logging.set_verbosity_info()
    model = loading.load_model(name, revision=revision, device=device, dtype=dtype.value)
    if dtype is Precision.BFLOAT16 and model.device.type == "cpu" and not cpu_is_fast_in_bfloat16():
        warn("WARNING: this processor is many times slower in bfloat16 than in float32: --dtype fast takes the faster.")
    return model


def check_served_model(name: str, revision: str | None, defences: Sequence[Defence]) -> None:
    """Raise InputError for a model that no server has, or that cannot be asked behind these defences, and say what
    cannot be checked: all before anything is read or drawn."""
    from davsp.defences import check_served
    from davsp.models.served import inspect_model

    if revision:
        raise InputError(f"{name} is what its server loaded: leave out --revision.")
    for defence in defences:
        check_served(defence)
    inspect_model(name)
    if any(defence.model_specific for defence in defences):
        say(
            f"{name} cannot be compared with the model that a defence was made for: see to it that it is the same, "
            "and leaves images as they are within the same limits (or say which, by --min-pixels and --max-pixels)."
        )


def queries_of(source: str, skip_bad: bool, splits: Sequence[str], malicious: bool | None = None) -> list[Query]:
    from davsp.data.sources import read_source

    reads(source)
    read = read_source(source, skip_bad=skip_bad, splits=splits, malicious=malicious)
    if read.skipped:
        say(f"{source}: {len(read.skipped)} bad records left out, {len(read.queries)} kept.")
    return list(read.queries)


def training_source(data: str | None, benchmarks: Sequence[str] | None, default: str = TESTBED) -> str | list[str]:
    """What is trained on: the name of data, or the names of benchmarks. Raises InputError where both are given."""
    if data and benchmarks:
        raise InputError("give either --data or --benchmark: a benchmark brings its own queries.")
    return list(benchmarks) if benchmarks else data or default


def training_queries(
    source: str | list[str],
    validation: str | None,
    skip_bad: bool,
    seed: int,
    *models: str,
    per_group: int | None = None,
) -> tuple[list[Query], list[Query]]:
    """Training and validation queries of data or of benchmarks, which share no id; the testbed's at the size of the
    first of the models. `per_group`: how many are drawn of each kind to train with, and half as many to validate."""
    from davsp.api import HELD_OUT
    from davsp.data.query import split_queries

    if per_group and not (isinstance(source, str) and is_drawn(source)):
        raise InputError("--per-group says how many queries are drawn, and these are read: leave it out.")
    if not isinstance(source, str):
        return _of_benchmarks(source, validation, skip_bad, seed)
    if is_drawn(source):
        if is_testbed(source):
            for model in models:
                check_world(model)
        reads(source)
        sizes = {"train": per_group, "validation": per_group and max(1, per_group // 2)}
        train, checks = (draw_source(source, split, size, seed, models[0]) for split, size in sizes.items())
        return train, checks
    queries = queries_of(source, skip_bad, TRAINING_SPLITS)
    if validation is None:
        return split_queries(queries, share=HELD_OUT, seed=seed)
    return queries, queries_of(validation, skip_bad, VALIDATION_SPLITS)


def _of_benchmarks(
    names: Sequence[str], validation: str | None, skip_bad: bool, seed: int
) -> tuple[list[Query], list[Query]]:
    """The same of benchmarks, of each of which is said what must be known of it."""
    from davsp.api import HELD_OUT
    from davsp.benchmarks.training import named_queries, select_for_training, training_queries, training_remarks

    for name in names:
        reads(name)
    chosen = select_for_training(names)
    for selection in chosen:
        for remark in training_remarks(selection):
            say(remark)
    if validation is None:
        return training_queries(chosen, HELD_OUT, seed)
    queries = [query for selection in chosen for query in named_queries(selection)]
    return queries, queries_of(validation, skip_bad, VALIDATION_SPLITS)
