"""ESIII, approximate: security instructions embedded in the image, and one in the text.

Approximate, because what is published of the method is incomplete: bound, steps, blank image and instruction are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from davsp.attacks.signed_steps import ChangeFitting, ChangeOptions
from davsp.defences.guard import Guard, GuardFacts
from davsp.defences.stored import BaseModelFacts
from davsp.models.base import VisionLanguageModel
from davsp.prompts.text import SAFETY_PREFIX
from davsp.training import loop as fitting

KIND = "esiii"
ABOUT = (
    "ESIII, **approximate**: a bounded change of a blank image, fitted so that security instructions become likely and "
    "then added to every image, and a security instruction before the question. Published details of the method are "
    "incomplete; bound, steps, blank image and instruction are those of this implementation."
)
APPROXIMATE = "approximate"
BLANK = (128, 128, 128)
"""Mid-grey: a change of either sign is a valid pixel there."""


class EsiiiOptions(ChangeOptions):
    """How the change is fitted, and the instruction before the question."""

    prefix: str = SAFETY_PREFIX


def fit(
    model: VisionLanguageModel, options: EsiiiOptions, corpus: Sequence[str], folder: Path, *, quiet: bool = False
) -> Guard:
    """Fit the change to a corpus of security instructions, going on from the state in `folder`, and save the guard
    there; its name says that it is approximate.

    Raises what `ChangeFitting` and `fitting.run` raise.
    """
    height, width = model.canvas.square
    change = ChangeFitting(model, options, corpus, [Image.new("RGB", (width, height), BLANK)], raising=False)
    metrics = fitting.run(change, folder, title=f"Fitting {folder.name}", quiet=quiet)
    name = folder.resolve().name
    facts = GuardFacts(
        kind=KIND,
        name=name if APPROXIMATE in name else f"{name}-{APPROXIMATE}",
        base_model=BaseModelFacts.of(model),
        config=options.model_dump(mode="json"),
        data=change.digests(),
        metrics=metrics,
        prefix=options.prefix,
    )
    guard = Guard.of(facts, change.visual(), ABOUT)
    guard.save(folder)
    return guard
