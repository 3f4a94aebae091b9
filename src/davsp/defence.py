"""A defence at work: what it makes of a query before a model sees it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PIL import Image

from davsp.border import VisualPrompt
from davsp.chat import with_prefix
from davsp.images import open_image
from davsp.samples import Query


@dataclass(frozen=True)
class Defence:
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
        image = self.apply_to_image(open_image(query.image, what=query.id))
        return replace(query, image=image, question=with_prefix(query.question, self.prefix))
