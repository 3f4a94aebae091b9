"""Options that commands share, and what is made of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from davsp.cli import completion
from davsp.data.conversation import Role
from davsp.defences import DEFENCES
from davsp.errors import InputError
from davsp.models.shipped import OF_THE_WORLD, SHIPPED, SMOL
from davsp.testbed.sources import check_world, draw_source, is_drawn, is_testbed
from davsp.util.provenance import reads

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
DTYPE_HELP = "Precision of the model's weights."
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
Data = Annotated[str | None, typer.Option("--data", "-d", help=f"{DATA_HELP} Default: testbed.")]
TrainingBenchmarks = Annotated[
    list[str] | None,
    typer.Option(
        "--benchmark",
        help="Instead of --data, a published benchmark: NAME, NAME:VARIANT, NAME=FOLDER or NAME:VARIANT=FOLDER, such "
        "as mm_vet:paper-train=data/MM-Vet. Repeatable: all are trained on together.",
    ),
]
Validation = Annotated[
    str | None, typer.Option(help="Queries that judge and choose; by default one in five of those to train on.")
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


def say(text: str) -> None:
    """A line for the person at the terminal; results alone go to standard output."""
    print(text, file=sys.stderr)


def load_model(name: str, revision: str | None, device: str, dtype: Precision) -> VisionLanguageModel:
    from davsp.models import loading

    return loading.load_model(name, revision=revision, device=device, dtype=dtype.value)


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


def queries_of(source: str, skip_bad: bool, splits: Sequence[str]) -> list[Query]:
    from davsp.data.sources import read_source

    reads(source)
    read = read_source(source, skip_bad=skip_bad, splits=splits)
    if read.skipped:
        say(f"{source}: {len(read.skipped)} bad records left out, {len(read.queries)} kept.")
    return list(read.queries)


def training_source(data: str | None, benchmarks: Sequence[str] | None, default: str = TESTBED) -> str | list[str]:
    """What is trained on: the name of data, or the names of benchmarks. Raises InputError where both are given."""
    if data and benchmarks:
        raise InputError("give either --data or --benchmark: a benchmark brings its own queries.")
    return list(benchmarks) if benchmarks else data or default


def training_queries(
    source: str | list[str], validation: str | None, skip_bad: bool, seed: int, *models: str
) -> tuple[list[Query], list[Query]]:
    """Training and validation queries of data or of benchmarks, which share no id; the testbed's at the size of the
    first of the models."""
    from davsp.api import HELD_OUT
    from davsp.data.query import split_queries

    if not isinstance(source, str):
        return _of_benchmarks(source, validation, skip_bad, seed)
    if is_drawn(source):
        if is_testbed(source):
            for model in models:
                check_world(model)
        reads(source)
        train, checks = (draw_source(source, split, None, seed, models[0]) for split in ("train", "validation"))
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
