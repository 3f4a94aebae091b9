"""Scenes: what stands where in an image of the testbed's world, and how it is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from davsp.drawing.shapes import draw_shape
from davsp.testbed.world import COLOURS, OBJECTS

Size = tuple[int, int]
"""Height and width in pixels."""
SIZE = 224
"""Side of a drawn image in pixels. Models see it resized to their own canvas."""

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Word:
    """A word of text; (x, y) is the left end of its baseline's top line, `size` the font size in pixels."""

    text: str
    x: float
    y: float
    size: int
    ink: Rgb


@dataclass(frozen=True)
class Sprite:
    """The fixed picture of an object, drawn into a square of side `size` at (x, y)."""

    object: str
    x: float
    y: float
    size: int


@dataclass(frozen=True)
class Shape:
    """A coloured shape in a square of side `size` at (x, y)."""

    shape: str
    colour: str
    x: float
    y: float
    size: int


Item = Word | Sprite | Shape
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Scene:
    """Items on a plain background."""

    items: tuple[Item, ...]
    background: Rgb

    def draw(self) -> Image.Image:
        """Render to an RGB image of SIZE x SIZE pixels."""
        image = Image.new("RGB", (SIZE, SIZE), self.background)
        pen = ImageDraw.Draw(image)
        for item in self.items:
            match item:
                case Word():
                    pen.text((item.x, item.y), item.text, font=font(item.size), fill=item.ink)
                case Sprite():
                    picture = sprite(item.object).resize((item.size, item.size), Image.Resampling.NEAREST)
                    image.paste(picture, (round(item.x), round(item.y)))
                case Shape():
                    draw_shape(pen, item.shape, item.x, item.y, item.size, COLOURS[item.colour])
        return image


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's bundled font at a size in pixels."""
    loaded = ImageFont.load_default(size)
    if not isinstance(loaded, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType: install Pillow from a wheel")
    return loaded


def box_of(item: Item) -> Box:
    """The item's bounding box (left, top, right, bottom) in pixels."""
    if isinstance(item, Word):
        left, top, right, bottom = _text_box(item.text, item.size)
        return item.x + left, item.y + top, item.x + right, item.y + bottom
    return item.x, item.y, item.x + item.size, item.y + item.size


def characters_of(word: Word) -> Iterator[tuple[str, float, float]]:
    """Each character of a word with the (x, y) of its centre in pixels."""
    _, top, _, bottom = _text_box(word.text, word.size)
    for character, middle in zip(word.text, _middles(word.text, word.size), strict=True):
        yield character, word.x + middle, word.y + (top + bottom) / 2


@cache
def _text_box(text: str, size: int) -> Box:
    return font(size).getbbox(text)


@cache
def _middles(text: str, size: int) -> tuple[float, ...]:
    """Where the middle of each character lies, in pixels from the left end."""
    ends = [font(size).getlength(text[:i]) for i in range(len(text) + 1)]
    return tuple((left + right) / 2 for left, right in pairwise(ends))


@cache
def sprite(thing: str) -> Image.Image:
    """The fixed 8x8-pixel, left-right symmetric picture of an object, the same on every machine."""
    rng = np.random.default_rng([7, OBJECTS.index(thing)])
    palette = rng.integers(0, 256, size=(3, 3))
    palette[0] = palette[0] // 3
    palette[1] = 160 + palette[1] // 3
    half = rng.integers(0, 3, size=(8, 4))
    cells = palette[np.concatenate([half, half[:, ::-1]], axis=1)]
    return Image.fromarray(cells.astype(np.uint8))
