"""A defence of a visual prompt and of texts: what it makes of a query before a model sees it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from copy import copy
from typing import Self

from PIL import Image

from davsp.data.conversation import Message, Role, with_text_after
from davsp.data.query import Query
from davsp.defences.base import RewritingDefence
from davsp.defences.stored import BaseModelFacts
from davsp.errors import ArtefactError
from davsp.imaging.canvas import Canvas
from davsp.prompts.visual import VisualPrompt, protect


class PromptDefence(RewritingDefence):
    """A visual prompt on the image, a text before the question and one after it; any of them may be missing."""

    visual: VisualPrompt | None
    prefix: str
    suffix: str = ""
    roles: tuple[Role, ...] = (Role.USER,)
    """In whose messages images are composed."""
    base_model: BaseModelFacts
    """Of one with a visual prompt: the model that it was made for."""

    @property
    def identity(self) -> str:
        """A hex digest of texts, layout and pixels."""
        parts = (self.prefix, self.suffix, self.visual.identity if self.visual else None)
        more = () if self.roles == (Role.USER,) else tuple(role.value for role in self.roles)
        return hashlib.sha256(repr(parts + more).encode()).hexdigest()

    def on_images_of(self, roles: Collection[Role]) -> Self:
        other = copy(self)
        object.__setattr__(other, "roles", tuple(role for role in Role if role in roles))
        return other

    def picture(self) -> bytes | None:
        return self.visual.to_png() if self.visual else None

    def apply_to_image(self, image: Image.Image) -> Image.Image:
        """The RGB image as it is sent: on the model's canvas, or as it is when there is no visual prompt."""
        return image if self.visual is None else self.visual.apply_to_image(image)

    def apply_to_texts(self, texts: Sequence[str]) -> list[str]:
        """The texts of the last user message as `defend` makes them: between the defence's own."""
        said = self.defend(Query("the texts", messages=[Message(Role.USER, texts)])).messages[0]
        return [part for part in said.parts if isinstance(part, str)]

    def check_canvas(self, canvas: Canvas, model: str) -> None:
        """Raise ArtefactError when what is composed would be resampled by a model with this canvas, border and all."""
        if self.visual is None or self.visual.layout.fits(canvas):
            return
        size = self.visual.layout.size
        made = f", for {limits.description}" if (limits := self.base_model.limits) else ""
        raise ArtefactError(
            f"{self.name} composes images of {_sides(size)} pixels{made}; {model} takes {canvas.description}, and "
            f"would make {_sides(canvas.choose(*size))} of them, border and all. Set the processor's limits "
            "(max_pixels and the like) to those that the defence was made for, or make one for these."
        )

    def with_limits(self, min_pixels: int | None = None, max_pixels: int | None = None) -> Self:
        if self.visual is None or (min_pixels is None and max_pixels is None):
            return self
        if self.base_model.limits is None:
            raise ArtefactError(
                f"{self.name} does not say which limits it was made for (an older davsp saved it): leave min_pixels "
                f"and max_pixels out, and see to it that images of {_sides(self.visual.layout.size)} pixels are not "
                "resampled."
            )
        canvas = self.base_model.limits.limited(min_pixels, max_pixels)
        self.check_canvas(canvas, "the server's processor")
        return self.on_canvas(canvas)

    def defend(self, query: Query) -> Query:
        """The query with its images composed on the model's canvas and its question between the texts.

        Raises InputError when the image cannot be read.
        """
        protected = protect(query, self.visual, self.prefix, self.roles)
        return protected.saying(with_text_after(protected.messages, self.suffix)) if self.suffix else protected


def _sides(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
