"""The command line. Every command parses its options, calls the library and prints what came of it."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from davsp.errors import DavspError, InputError

if TYPE_CHECKING:
    from davsp.models import VisionLanguageModel
    from davsp.samples import Query

app = typer.Typer(
    help="Harden a frozen vision-language model with a trained visual safety prompt.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
testbed_app = typer.Typer(
    help="The embedded testbed: a small world, and a small model trained in it.", no_args_is_help=True
)
app.add_typer(testbed_app, name="testbed")
official_app = typer.Typer(help="Files of the paper's official code: read and write them.", no_args_is_help=True)
app.add_typer(official_app, name="official")

TESTBED = "testbed"


class Precision(StrEnum):
    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    BITS8 = "8bit"
    BITS4 = "4bit"


MODEL_HELP = "Local folder or hub id; 'testbed' is the shipped one."
DATA_HELP = "Queries: .jsonl, .json, .csv or .parquet; or 'testbed'."
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


def _load_model(name: str, revision: str | None, device: str, dtype: Precision) -> VisionLanguageModel:
    from davsp.models import load_model

    return load_model(name, revision=revision, device=device, dtype=dtype.value)


def _queries(source: str, skip_bad: bool) -> list[Query]:
    from davsp.samples import read_queries

    found = read_queries(Path(source), skip_bad=skip_bad)
    if found.skipped:
        say(f"{source}: {len(found.skipped)} bad records left out, {len(found.queries)} kept.")
    return list(found.queries)


def _training_queries(data: str, validation: str | None, skip_bad: bool, seed: int) -> tuple[list[Query], list[Query]]:
    """Training and validation queries, which share no id."""
    from davsp.samples import split_queries

    if data == TESTBED:
        from davsp.testbed.queries import border_queries

        return border_queries(seed)
    queries = _queries(data, skip_bad)
    if validation is None:
        return split_queries(queries, share=0.2, seed=seed)
    return queries, _queries(validation, skip_bad)


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
    from davsp.progress import bar
    from davsp.vector import extract_vector, vector_table

    fitting, checks = _training_queries(data, validation, skip_bad, seed)
    loaded = _load_model(model, revision, device, dtype)
    with bar("Reading hidden states", len(fitting) + len(checks)) as advance:
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
    found.save(out)
    Console(stderr=True).print(vector_table(found))
    print(out)


@app.command()
def train(
    out: Out,
    vector: Annotated[
        Path | None, typer.Option(help="Folder written by `davsp vector`; by default it is made first, in --out.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="YAML file of model, data and training options; options here go before it.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", envvar="DAVSP_MODEL", help=MODEL_HELP)] = None,
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
    from davsp.pipeline import dry_run as describe
    from davsp.pipeline import train_prompt, vector_for
    from davsp.recipes import Recipe, read_recipe
    from davsp.train import Interrupted
    from davsp.vector import HarmfulnessVector

    told = read_recipe(recipe) if recipe else Recipe(model=TESTBED, data=TESTBED)
    settings = read_config(told.train, set_ or [], paper or told.paper)
    given = HarmfulnessVector.load(vector) if vector else None
    training, checks = _training_queries(
        data or told.data, validation or (None if data else told.validation), skip_bad, settings.seed
    )
    revision = revision or (None if model else told.revision)
    loaded = _load_model(model or told.model, revision, device, dtype or Precision(told.dtype))
    direction = given or vector_for(loaded, training, checks, settings, None if dry_run else out / "vector")
    if dry_run:
        print(json.dumps(describe(loaded, direction, settings, training, checks), indent=2))
        return
    try:
        train_prompt(loaded, direction, settings, training, checks, out, tensorboard=tensorboard)
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
    from davsp.artefact import CONFIG, VisualSafetyPrompt

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
    prompt: Annotated[
        Path | None, typer.Option("--prompt", "-p", help="A saved visual safety prompt; default: undefended.")
    ] = None,
    model: ModelName = TESTBED,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 256,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = Precision.AUTO,
) -> None:
    """Ask the model one question about one image, with or without a defence."""
    from davsp.artefact import VisualSafetyPrompt
    from davsp.images import open_image
    from davsp.samples import Query, check_question

    check_question(question, "the question")
    open_image(image)
    defence = VisualSafetyPrompt.load(prompt) if prompt else None
    loaded = _load_model(model, revision, device, dtype)
    if defence:
        print(defence.ask(loaded, image, question, max_new_tokens))
    else:
        print(loaded.generate([Query(id=str(image), image=image, question=question)], max_new_tokens)[0])


@app.command()
def evaluate(
    out: Out,
    prompts: Annotated[
        list[Path] | None, typer.Option("--prompt", "-p", help="A saved visual safety prompt. Repeatable.")
    ] = None,
    model: ModelName = TESTBED,
    data: Data = TESTBED,
    per_group: Annotated[int | None, typer.Option(min=1, help="At most so many queries of each group.")] = None,
    batch_size: BatchSize = 32,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 256,
    skip_bad: SkipBad = False,
    seed: Seed = 0,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = Precision.AUTO,
) -> None:
    """Measure safety, usefulness and over-refusal, undefended and behind each prompt, on the same queries."""
    from rich.console import Console

    from davsp.artefact import VisualSafetyPrompt
    from davsp.defence import Defence
    from davsp.pipeline import compare
    from davsp.train import read_metrics

    defences: list[Any] = [VisualSafetyPrompt.load(folder) for folder in prompts or []]
    if data == TESTBED:
        from davsp.testbed.queries import draw_queries
        from davsp.testbed.world import Split

        queries, per_group = draw_queries(Split.TEST, per_group or 200, seed), None
    else:
        queries = _queries(data, skip_bad)
    loaded = _load_model(model, revision, device, dtype)
    for defence in defences:
        defence.check(loaded)
    results = compare(
        loaded,
        [Defence("none"), *defences],
        queries,
        out,
        title=f"{model}: {len(defences) + 1} defences compared",
        training=next((found for folder in prompts or [] if (found := read_metrics(folder))), []),
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
        per_group=per_group,
        seed=seed,
    )
    from davsp.evaluate.report import print_table

    print_table(results, Console())
    say(f"Report: {out / 'report.html'}")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A folder written by `davsp evaluate` or `davsp demo`.")],
) -> None:
    """Write the HTML report of an evaluation again, from what is in its folder."""
    from davsp.pipeline import rebuild_report

    print(rebuild_report(folder))


@app.command()
def demo(
    out: Out = Path("runs/demo"),
    seed: Seed = 0,
    per_group: Annotated[int, typer.Option(min=1, help="Test queries of each group.")] = 40,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps of each prompt.")] = None,
    json_only: Annotated[bool, typer.Option("--json", help="Print only the results, as JSON.")] = False,
) -> None:
    """The main job on the embedded testbed: vector, training, evaluation of six defences, report."""
    import json

    from rich.console import Console

    from davsp.demo import run_demo
    from davsp.evaluate.report import print_table

    results, page = run_demo(out, seed=seed, per_group=per_group, steps=steps, quiet=json_only)
    if json_only:
        print(json.dumps(results))
        return
    print_table(results, Console())
    print(f"Report: {page}")


@official_app.command(name="vector")
def official_vector(
    file: Annotated[Path, typer.Argument(help="harmfulness_vector.pt")],
    out: Out,
    layer: Annotated[int | None, typer.Option(min=1, help="Decoder layer; default: the middle one.")] = None,
) -> None:
    """Import a vector as it is: without a model, and so without class means for thresholds."""
    from davsp.official import read_directions
    from davsp.vector import HarmfulnessVector

    found = read_directions(file)
    vector = HarmfulnessVector(found, layer or len(found) // 2, (), {"file": file.name})
    vector.direction()
    vector.save(out)
    print(out)


@official_app.command(name="border")
def official_border(
    file: Annotated[Path, typer.Argument(help="noise-N.pt")],
    out: Out,
    model: ModelName,
    width: Annotated[int, typer.Option(min=1, help="Border width in pixels.")] = 30,
    clamp: Annotated[bool, typer.Option("--clamp", help="Move pixels to [0, 1].")] = False,
    prefix: Annotated[str | None, typer.Option(help="Safety prefix that goes with it; '' for none.")] = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = Precision.AUTO,
) -> None:
    """Import a border for a model, and say how far it is from being an image."""
    from davsp.artefact import BaseModelFacts, VisualSafetyPrompt
    from davsp.chat import SAFETY_PREFIX
    from davsp.official import beyond_range, read_noise

    visual = read_noise(file, width)
    furthest, share = beyond_range(visual)
    if furthest > 0:
        now = "moved to it" if clamp else "kept; as a picture it is clamped (--clamp does so now)"
        say(f"{file}: {share:.1%} of the border's values lie outside [0, 1], by {furthest:.3f} at most: {now}.")
    if clamp:
        visual.layout.project_(visual.pixels)
    loaded = _load_model(model, revision, device, dtype)
    if (visual.layout.height, visual.layout.width) != loaded.canvas.square:
        raise InputError(
            f"{file} is for a canvas of {visual.layout.height} x {visual.layout.width} pixels, "
            f"{model} sees {loaded.canvas.square[0]} x {loaded.canvas.square[1]}."
        )
    facts = BaseModelFacts.of(loaded)
    VisualSafetyPrompt(out.name, visual, SAFETY_PREFIX if prefix is None else prefix, base_model=facts).save(out)
    print(out)


@official_app.command(name="export")
def official_export(
    folder: Annotated[Path, typer.Argument(help="A saved vector, or a saved visual safety prompt with a border.")],
    file: Annotated[Path, typer.Argument(help="The .pt file to write.")],
) -> None:
    """Write a vector or a border in the official format."""
    from davsp.artefact import CONFIG, VisualSafetyPrompt
    from davsp.official import write_directions, write_noise
    from davsp.vector import HarmfulnessVector

    if (folder / CONFIG).is_file():
        visual = VisualSafetyPrompt.load(folder).visual
        if visual is None:
            raise InputError(f"{folder} holds a safety prefix and no border: there is nothing to export.")
        write_noise(visual, file)
    else:
        write_directions(HarmfulnessVector.load(folder).directions, file)
    print(file)


@testbed_app.command()
def pretrain(
    out: Out,
    work: Annotated[Path, typer.Option(help="Folder of the training state; the same command goes on from it.")] = Path(
        "runs/pretrain"
    ),
    seed: Seed = 0,
) -> None:
    """Train the testbed model from nothing, as the shipped one was, and write it as a Hugging Face checkpoint."""
    from davsp.testbed.shipping import pretrain_and_save

    pretrain_and_save(out, work, seed)
    print(out)


@testbed_app.command()
def score(
    model: ModelName = TESTBED,
    per_group: Annotated[int, typer.Option(min=1)] = 200,
    seed: Seed = 0,
) -> None:
    """Score a testbed checkpoint, undefended and with the safety prefix, on the world's test split."""
    import json

    from davsp.testbed.shipping import score_checkpoint

    print(json.dumps(score_checkpoint(model, per_group, seed), indent=2))


@testbed_app.command()
def draw(
    out: Out,
    split: Annotated[str, typer.Option(help="pretrain, border, validation or test")] = "test",
    per_group: Annotated[int, typer.Option(min=1)] = 20,
    seed: Seed = 0,
) -> None:
    """Draw queries of the testbed's world into a folder: images, and queries.jsonl."""
    from davsp.testbed.export import export_queries

    print(export_queries(out, split, per_group, seed))


def main() -> None:
    """Run the command line. Errors on purpose become one message and status 2; Ctrl-C becomes status 130."""
    try:
        app()
    except DavspError as error:
        say(f"Error: {error}")
        sys.exit(2)
