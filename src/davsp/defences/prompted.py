"""A defence at work: what it makes of a query before a model sees it."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from davsp.data.query import Query
from davsp.prompts.visual import VisualPrompt, protect


@dataclass(frozen=True)
class PromptDefence:
    """A visual prompt on the image, a safety prefix before the question; either may be missing."""

    name: str
    visual: VisualPrompt | None = None
    prefix: str = ""

    def apply_to_image(self, image: Image.Image) -> Image.Image:
        """The RGB image as it is sent: on the model's canvas, or as it is when there is no visual prompt."""
        return image if self.visual is None else self.visual.apply_to_image(image)

    def defend(self, query: Query) -> Query:
        """The query with its image composed on the model's canvas and its question prefixed.

        Raises InputError when the image cannot be read.
        """
        return protect(query, self.visual, self.prefix)
