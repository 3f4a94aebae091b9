"""`davsp official`: files of the paper's official code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from davsp.cli.options import Device, Dtype, ModelName, Out, Precision, Revision, load_model, say
from davsp.errors import InputError

official_app = typer.Typer(help="Files of the paper's official code: read and write them.", no_args_is_help=True)


@official_app.command(name="vector")
def official_vector(
    file: Annotated[Path, typer.Argument(help="harmfulness_vector.pt")],
    out: Out,
    layer: Annotated[int | None, typer.Option(min=1, help="Decoder layer; default: the middle one.")] = None,
) -> None:
    """Import a vector as it is: without a model, and so without class means for thresholds."""
    from davsp.prompts.official import read_directions
    from davsp.training.vector import HarmfulnessVector

    found = read_directions(file)
    vector = HarmfulnessVector(found, layer or (len(found) + 1) // 2, (), {"file": file.name})
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
    from davsp.defences.stored import BaseModelFacts
    from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
    from davsp.prompts.official import out_of_range, read_noise
    from davsp.prompts.text import SAFETY_PREFIX

    visual = read_noise(file, width)
    furthest, share = out_of_range(visual)
    if furthest > 0:
        now = "moved to it" if clamp else "kept; as a picture it is clamped (--clamp does so now)"
        say(f"{file}: {share:.1%} of the border's values lie outside [0, 1], by {furthest:.3f} at most: {now}.")
    if clamp:
        visual.layout.project_(visual.pixels)
    loaded = load_model(model, revision, device, dtype)
    if visual.layout.size != loaded.canvas.square:
        height, width = visual.layout.size
        raise InputError(
            f"{file} is for a canvas of {height} x {width} pixels, "
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
    from davsp.defences.stored import CONFIG
    from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
    from davsp.prompts.official import write_directions, write_noise
    from davsp.training.vector import HarmfulnessVector

    if (folder / CONFIG).is_file():
        visual = VisualSafetyPrompt.load(folder).visual
        if visual is None:
            raise InputError(f"{folder} holds a safety prefix and no border: there is nothing to export.")
        write_noise(visual, file)
    else:
        write_directions(HarmfulnessVector.load(folder).directions, file)
    print(file)
