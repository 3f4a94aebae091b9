"""ESIII, approximate: security instructions embedded in the image, and one in the text.

Approximate, because what is published of the method is incomplete: bound, steps, blank image and instruction are ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from PIL import Image
from pydantic import Field

from davsp.defences.base import FittingData
from davsp.defences.corpus import SECURITY_INSTRUCTIONS
from davsp.defences.fitted_prompt import FittedPrompt
from davsp.models.base import VisionLanguageModel
from davsp.prompts.text import SAFETY_PREFIX
from davsp.searches.signed_steps import ChangeFitting, ChangeOptions
from davsp.training import loop

APPROXIMATE = "approximate"
BLANK = (128, 128, 128)
"""Mid-grey: a change of either sign is a valid pixel there."""


class EsiiiOptions(ChangeOptions):
    """How the change is fitted, and the instruction before the question."""

    prefix: str = Field(SAFETY_PREFIX, description="The security instruction before the question.")


class Esiii(FittedPrompt):
    """A bounded change of every image that makes security instructions likely, and one before the question."""

    kind = "esiii"
    about = (
        "ESIII, **approximate**: a bounded change of a blank image, fitted so that security instructions become likely "
        "and then added to every image, and a security instruction before the question. Published details of the "
        "method are incomplete; bound, steps, blank image and instruction are those of this implementation."
    )
    FitOptions = EsiiiOptions
    fits_corpus = SECURITY_INSTRUCTIONS

    @classmethod
    def fit(
        cls,
        model: VisionLanguageModel,
        options: EsiiiOptions,
        data: FittingData,
        folder: Path,
        *,
        quiet: bool = False,
    ) -> Self:
        """Fit the change to the corpus, going on from the state in `folder`, and save it there; its name says that it
        is approximate.

        Raises what `ChangeFitting` and `loop.run` raise.
        """
        height, width = model.canvas.square
        blank = Image.new("RGB", (width, height), BLANK)
        change = ChangeFitting(model, options, data.corpus, [blank], raising=False)
        metrics = loop.run(change, folder, title=f"Fitting {folder.name}", quiet=quiet)
        name = folder.resolve().name
        return cls.save_fitted(
            folder,
            model,
            options,
            name=name if APPROXIMATE in name else f"{name}-{APPROXIMATE}",
            visual=change.visual(),
            prefix=options.prefix,
            data=change.digests(),
            metrics=metrics,
        )
