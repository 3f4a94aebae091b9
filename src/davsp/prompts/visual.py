"""The visual prompt: a layout and its pixels, applied to images and written as a picture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from davsp.data.conversation import ImageContent, Role, with_images
from davsp.data.query import Query
from davsp.errors import ArtefactError, InputError
from davsp.imaging.canvas import Canvas
from davsp.imaging.opening import open_image
from davsp.imaging.pixels import Pixels
from davsp.prompts.layouts import BorderLayout, Layout


@dataclass(frozen=True)
class VisualPrompt:
    """A trained border, frame or change: `pixels` float32 (3, H, W) of the layout's size, zero where it has none."""

    layout: Layout
    pixels: Float[Tensor, "3 h w"]

    @property
    def identity(self) -> str:
        """A hex digest of layout and pixels."""
        total = hashlib.sha256(repr(self.layout).encode())
        total.update(self.pixels.cpu().numpy().tobytes())
        return total.hexdigest()

    def on_canvas(self, canvas: Canvas) -> VisualPrompt:
        """The same pixels, composed for a model with this canvas."""
        return replace(self, layout=self.layout.on_canvas(canvas))

    def compose(self, interior: Pixels) -> Pixels:
        """As the layout's `compose`."""
        return self.layout.compose(self.pixels, interior)

    def apply_to_image(self, image: Image.Image) -> Image.Image:
        """The canvas as an RGB image, from an RGB image of any size. Inner pixels are resized once at most."""
        return self._render(image)

    @cached_property
    def _render(self) -> Callable[[Image.Image], Image.Image]:
        return self.layout.renderer(self.pixels.cpu())  # where images are, whatever the model is on

    def to_png(self) -> bytes:
        """The prompt as an RGBA picture, transparent where it has no pixels of its own."""
        image = self.layout.picture(self.pixels.cpu()).convert("RGBA")
        image.putalpha(Image.fromarray(self.layout.mask().numpy().astype(np.uint8) * 255))
        stream = BytesIO()
        image.save(stream, format="PNG")
        return stream.getvalue()


def protect(query: Query, visual: VisualPrompt | None, prefix: str, roles: Iterable[Role] = (Role.USER,)) -> Query:
    """The query as a model is to see it: the images in messages of these roles behind the visual prompt, its question
    behind the prefix.

    Without a visual prompt images stay as they are. Raises InputError when one of these cannot be read.
    """

    def behind(number: int, image: ImageContent) -> ImageContent:  # noqa: ARG001
        opened = open_image(image, what=query.id)
        return opened if visual is None else visual.apply_to_image(opened)

    return query.saying(with_images(query.messages, behind, roles)).with_prefix(prefix)


def border_from_png(path: Path) -> VisualPrompt:
    """Read back what `VisualPrompt.to_png` wrote for a border, to within half an 8-bit step.

    Raises InputError for an unusable image, ArtefactError when the transparent part is no centred rectangle.
    """
    open_image(path)  # refuses what is no sound image, with a clear message
    with Image.open(path) as image:
        values = np.array(image.convert("RGBA"))
    height, width = values.shape[:2]
    opaque = values[..., 3] == 255
    rows = np.flatnonzero(~opaque.all(axis=1))
    border = int(rows[0]) if rows.size else 0
    try:
        layout = BorderLayout(height, width, border)
    except InputError as error:
        raise ArtefactError(f"{path} is no border: {error}") from error
    if not np.array_equal(opaque, layout.mask().numpy()):
        raise ArtefactError(
            f"{path} is no border: expected opaque pixels around one centred transparent rectangle, "
            "as `border.png` in a saved prompt has."
        )
    pixels = torch.from_numpy(values[..., :3].transpose(2, 0, 1)).float() / 255
    layout.project_(pixels)
    return VisualPrompt(layout, pixels)
