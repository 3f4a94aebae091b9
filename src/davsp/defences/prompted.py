"""A defence of a visual prompt and of texts: what it makes of a query before a model sees it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from PIL import Image

from davsp.data.query import Query
from davsp.defences.base import RewritingDefence
from davsp.prompts.visual import VisualPrompt, protect


class PromptDefence(RewritingDefence):
    """A visual prompt on the image, a text before the question and one after it; any of them may be missing."""

    visual: VisualPrompt | None
    prefix: str
    suffix: str = ""

    @property
    def identity(self) -> str:
        """A hex digest of texts, layout and pixels."""
        total = hashlib.sha256(repr((self.prefix, self.suffix)).encode())
        if self.visual is not None:
            total.update(repr(self.visual.layout).encode())
            total.update(self.visual.pixels.cpu().numpy().tobytes())
        return total.hexdigest()

    def picture(self) -> bytes | None:
        return self.visual.to_png() if self.visual else None

    def apply_to_image(self, image: Image.Image) -> Image.Image:
        """The RGB image as it is sent: on the model's canvas, or as it is when there is no visual prompt."""
        return image if self.visual is None else self.visual.apply_to_image(image)

    def defend(self, query: Query) -> Query:
        """The query with its image composed on the model's canvas and its question between the texts.

        Raises InputError when the image cannot be read.
        """
        protected = protect(query, self.visual, self.prefix)
        return replace(protected, question=f"{protected.question}\n{self.suffix}") if self.suffix else protected
