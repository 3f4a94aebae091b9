"""Another prompt of a finished training: any point of its validation front, without training again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.errors import MALFORMED, ArtefactError, InputError
from davsp.prompts.visual import VisualPrompt
from davsp.training.run_state import STATE
from davsp.util.files import load_tensors


def pick(folder: Path, step: int) -> VisualSafetyPrompt:
    """Make the prompt that a training had after `step` steps the prompt of its folder, and save it there.

    Raises InputError for a step that is not on the run's front, ArtefactError where the folder holds no finished
    training of this davsp.
    """
    prompt, path = VisualSafetyPrompt.load(folder), folder / STATE
    if prompt.visual is None or prompt.training is None or not path.is_file():
        raise ArtefactError(f"{folder} holds no training to pick from: give --out the folder of one.")
    try:
        saved = load_tensors(path)
        state, data = saved["state"], saved["identity"]["data"][0]
        points = {int(record["step"]): (record, pixels) for record, pixels in state.get("front", ())}
        if state["best_record"]:
            points[int(state["best_record"]["step"])] = (state["best_record"], state["best"])
        fitting = all(pixels.shape == prompt.visual.pixels.shape for _, pixels in points.values())
    except MALFORMED as error:
        raise ArtefactError(f"{path} is damaged: nothing can be picked from it.") from error
    if data != prompt.training.data or not fitting:
        raise ArtefactError(
            f"{path} is of another training than the prompt in {folder}: nothing can be picked from it."
        )
    if step not in points:
        raise InputError(
            f"{folder} has no prompt of step {step} to pick. Choose from {', '.join(map(str, sorted(points)))}."
        )
    record, pixels = points[step]
    picked = replace(
        prompt,
        visual=VisualPrompt(prompt.visual.layout, pixels),
        training=prompt.training.model_copy(update={"metrics": dict(record)}),
    )
    picked.save(folder)
    return picked
