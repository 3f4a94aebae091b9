"""`davsp data`: queries drawn from texts alone, and queries labelled by the model that they are for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from davsp.cli.options import (
    TRAINING_SPLITS,
    AsJson,
    BatchSize,
    Device,
    Dtype,
    ModelName,
    Out,
    Precision,
    Revision,
    Seed,
    SkipBad,
    load_model,
    long_running,
    print_folder,
    queries_of,
    say,
)
from davsp.errors import InputError
from davsp.util.files import make_folder

data_app = typer.Typer(
    help="Queries to train and test with: drawn from texts alone, labelled by a model.", no_args_is_help=True
)

TEXTS_HELP = (
    "a file of one request a line, or of records (.json, .jsonl, .csv, .parquet) with a column such as instruction"
)
KINDS = "figstep,typo,sd_typo,text,reading,counting,colours"


@data_app.command()
@long_running
def draw(
    out: Out,
    malicious: Annotated[Path | None, typer.Option(help=f"Requests to be refused: {TEXTS_HELP}.")] = None,
    benign: Annotated[Path | None, typer.Option(help="Requests to be answered, in the same forms.")] = None,
    kinds: Annotated[str, typer.Option(help="Which kinds of queries, with commas between.")] = KINDS,
    per_kind: Annotated[
        int | None,
        typer.Option(
            min=1, help="At most so many malicious and so many benign queries of each kind. Default: all texts."
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(help="Shares of train, validation and test; or 1: one set that is not divided.")
    ] = "0.8,0.1,0.1",
    side: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 448,
    fonts: Annotated[
        list[Path] | None,
        typer.Option(
            "--font",
            help="A font file instead of DejaVu, which comes with davsp. Repeatable: one is chosen for each picture.",
        ),
    ] = None,
    column: Annotated[str | None, typer.Option(help="The column of the requests in files of records.")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out texts that cannot be drawn, and say how many.")
    ] = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Draw requests, given as texts, into images, in the ways in which attacks hide them.

    Malicious and benign texts are drawn alike, and divided so that texts that say nearly the same are in one split.
    """
    from davsp.drawing.draw import draw_queries

    drawn = draw_queries(
        malicious,
        benign,
        kinds=[kind.strip() for kind in kinds.split(",") if kind.strip()],
        per_kind=per_kind,
        split=_shares(split),
        side=side,
        seed=seed,
        fonts=fonts or [],
        column=column,
        skip_bad=skip_bad,
    )
    drawn.save(out)
    for note in drawn.notes:
        say(note)
    say(", ".join(f"{name}: {len(queries)} queries" for name, queries in drawn.splits.items()))
    print_folder(out, as_json)


@data_app.command()
@long_running
def label(
    out: Out,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            "-d",
            help="Queries: a .jsonl, .json, .csv or .parquet file, a folder of queries, or a data set of the hub. Each "
            "says in its column request what its image asks for, or has no image.",
        ),
    ],
    model: ModelName,
    batch_size: BatchSize = 16,
    skip_bad: SkipBad = False,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = Precision.AUTO,
) -> None:
    """Label queries by the model's own judgement: malicious is what it refuses where the same is asked as text.

    Labels that are there are not read. What comes out, without answers to what is malicious, can be trained with. The
    same command goes on after a stop: what was asked is kept beside the output folder until that is written.
    """
    from davsp.data.folder import check_writable, save_queries
    from davsp.training.own_labels import own_labels

    if out.exists():
        raise InputError(f"{out} is there already: choose another output folder.")
    queries = queries_of(data, skip_bad, TRAINING_SPLITS, malicious=False)
    check_writable(queries)
    asked = make_folder(out.parent) / f"{out.name}.asked.jsonl"
    labelled = own_labels(load_model(model, revision, device, dtype), queries, kept=asked, batch_size=batch_size)
    save_queries(labelled, out)
    asked.unlink(missing_ok=True)
    malicious = sum(query.malicious for query in labelled)
    say(f"{malicious} malicious, {len(labelled) - malicious} benign queries.")
    print(out)


def _shares(text: str) -> list[float]:
    try:
        return [float(share) for share in text.split(",")]
    except ValueError as error:
        raise InputError(f"--split {text}: give shares with commas between, such as 0.8,0.1,0.1.") from error
