"""`davsp apply` and `davsp ask`: a defence put to use, on images and on one question."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from davsp.cli.options import (
    DEFENCE_HELP,
    DEFENCE_OPTION,
    TESTBED,
    Device,
    Dtype,
    MaxPixels,
    MinPixels,
    ModelName,
    Precision,
    PromptFolder,
    Revision,
    load_model,
    say,
)
from davsp.errors import InputError


def apply(
    prompt: PromptFolder,
    source: Annotated[str, typer.Argument(help="An image, a folder of images, or - for standard input.")],
    target: Annotated[str, typer.Argument(help="A .png file, a folder, or - for standard output.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Images at a time; default: one for each core.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also write what is there and up to date.")] = False,
    min_pixels: MinPixels = None,
    max_pixels: MaxPixels = None,
) -> None:
    """Put the prompt's border around images. The safety prefix in config.json belongs before the question."""
    from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
    from davsp.prompts.apply import apply_to_file, apply_to_folder, apply_to_stream

    loaded = VisualSafetyPrompt.load(prompt).with_limits(min_pixels, max_pixels)
    if (source == "-") != (target == "-"):
        raise InputError("standard input goes with standard output: give - for both.")
    if source == "-":
        sys.stdout.buffer.write(apply_to_stream(loaded, sys.stdin.buffer.read()))
    elif not Path(source).is_dir():
        apply_to_file(loaded, Path(source), Path(target))
    else:
        done = apply_to_folder(loaded, Path(source), Path(target), workers=workers, overwrite=overwrite)
        say(f"{done.written} written, {done.skipped} up to date, {len(done.failed)} failed.")
        if done.failed:
            raise InputError("\n".join(done.failed))


def ask(
    image: Annotated[Path, typer.Argument(help="An image file.")],
    question: Annotated[str, typer.Argument()],
    defences: Annotated[list[str] | None, typer.Option(*DEFENCE_OPTION, help=DEFENCE_HELP)] = None,
    model: ModelName = TESTBED,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 256,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = Precision.AUTO,
) -> None:
    """Ask the model one question about one image, with or without a defence."""
    from davsp import api
    from davsp.data.query import check_question
    from davsp.defences import load_defence
    from davsp.imaging.opening import open_image

    if len(defences or []) > 1:
        raise InputError(
            "a question is asked behind one defence: give --defence once, or compare them by `davsp evaluate`."
        )
    check_question(question, "the question")  # what is wrong is found before the model is loaded
    open_image(image)
    chosen = load_defence((defences or ["none"])[0])
    loaded = load_model(model, revision, device, dtype)
    print(api.ask(loaded, image, question, chosen, max_new_tokens=max_new_tokens))
