"""Options that commands share, and what is made of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from davsp.defences import DEFENCES
from davsp.errors import InputError
from davsp.models.shipped import SHIPPED

if TYPE_CHECKING:
    from davsp.data.query import Query
    from davsp.models.base import VisionLanguageModel

TESTBED = "testbed"
SIDE_STEP = 16
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


MODEL_HELP = f"Local folder or hub id; shipped are {' and '.join(SHIPPED)}."
DATA_HELP = (
    "Queries: a .jsonl, .json, .csv or .parquet file, or a folder or data set of the hub, owner/name@revision, of "
    "which ':split' or ':configuration/split' chooses a part; 'testbed' are the testbed's, 'testbed@112' the same in "
    "images of 112 pixels, 'testbed@96-144' in images of many sizes and shapes."
)
DEFENCE_HELP = (
    "A folder that `davsp train` or `davsp fit` wrote, or the name of a defence that needs neither, with options after "
    f"a colon: eta:reward=FOLDER,clip=FOLDER. There are {', '.join(DEFENCES.names())}."
)
DTYPE_HELP = "Precision of the model's weights."
ModelName = Annotated[
    str,
    typer.Option("--model", "-m", envvar="DAVSP_MODEL", help=MODEL_HELP),
]
Revision = Annotated[str | None, typer.Option(help="Revision of a hub model.")]
Device = Annotated[
    str, typer.Option(envvar="DAVSP_DEVICE", help="auto, cpu, cuda, cuda:1 ..., or split: over all GPUs.")
]
Dtype = Annotated[Precision, typer.Option(envvar="DAVSP_DTYPE", help=DTYPE_HELP)]
Data = Annotated[str, typer.Option("--data", "-d", help=DATA_HELP)]
Validation = Annotated[
    str | None, typer.Option(help="Queries that judge and choose; by default one in five of --data.")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave unusable records out, and say how many.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Output folder.")]
Seed = Annotated[int, typer.Option(min=0, envvar="DAVSP_SEED")]
BatchSize = Annotated[int, typer.Option(min=1)]
PromptFolder = Annotated[Path, typer.Argument(help="A saved visual safety prompt.")]


def say(text: str) -> None:
    """A line for the person at the terminal; results alone go to standard output."""
    print(text, file=sys.stderr)


def load_model(name: str, revision: str | None, device: str, dtype: Precision) -> VisionLanguageModel:
    from davsp.models import loading

    return loading.load_model(name, revision=revision, device=device, dtype=dtype.value)


def queries_of(source: str, skip_bad: bool, splits: Sequence[str]) -> list[Query]:
    from davsp.data.sources import read_source

    read = read_source(source, skip_bad=skip_bad, splits=splits)
    if read.skipped:
        say(f"{source}: {len(read.skipped)} bad records left out, {len(read.queries)} kept.")
    return list(read.queries)


def image_side(model: str) -> int:
    """The side in pixels of the images that the testbed draws for a model where nothing else is said."""
    return SHIPPED.get(model, SHIPPED[TESTBED]).image_side


def side_of_testbed(data: str, model: str) -> int | range | None:
    """The side in pixels of the testbed's images, if `data` names it: "testbed" (at the model's own size),
    "testbed@112" for another, "testbed@96-144" for heights and widths between the two in steps of SIDE_STEP."""
    name, _, asked = data.partition("@")
    if name != TESTBED or Path(data).exists():
        return None
    if not asked:
        return image_side(model)
    sides = [int(side) for side in asked.split("-") if side.isdecimal()]
    if len(sides) != asked.count("-") + 1 or len(sides) > 2 or not 8 <= min(sides) <= max(sides) == sides[-1] <= 4096:
        raise InputError(
            f"{data}: write the side of the testbed's images in pixels, such as testbed@112, or the least and the "
            f"greatest, such as testbed@96-144."
        )
    return sides[0] if len(sides) == 1 else range(sides[0], sides[1] + 1, SIDE_STEP)


def training_queries(
    data: str, validation: str | None, skip_bad: bool, seed: int, model: str
) -> tuple[list[Query], list[Query]]:
    """Training and validation queries, which share no id."""
    from davsp.data.query import split_queries

    if (side := side_of_testbed(data, model)) is not None:
        from davsp.testbed.queries import border_queries

        return border_queries(seed, side=side)
    queries = queries_of(data, skip_bad, TRAINING_SPLITS)
    if validation is None:
        return split_queries(queries, share=0.2, seed=seed)
    return queries, queries_of(validation, skip_bad, VALIDATION_SPLITS)
