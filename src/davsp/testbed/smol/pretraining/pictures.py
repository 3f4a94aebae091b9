"""Pictures with names: those of a colour emoji font, and our own coloured shapes."""

from __future__ import annotations

import math
import random
import unicodedata
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from davsp.drawing.shapes import COLOURS, SHAPES, draw_shape
from davsp.errors import InputError

WIDTH = 96
"""Side of a picture in pixels."""
FONT_SIZE, FONT_BOX = 109, 136
"""The one size that Noto Color Emoji has, and the room it takes."""
RANGES = (
    (0x1F300, 0x1F5FF),
    (0x1F680, 0x1F6FF),
    (0x1F900, 0x1F9FF),
    (0x1FA70, 0x1FAFF),
    (0x2600, 0x27BF),
)
NO_THINGS = (
    "FACE WITH", "VARIATION", "ARROW", "CLOCK FACE", "SQUARED", "KEYCAP", "ZODIAC", "SYMBOL FOR", "INPUT", "REGIONAL",
    "FITZPATRICK", "COMPONENT", "MOON PHASE",
)  # fmt: skip
"""What the names of characters hold that nobody would name when asked what a picture shows."""
LONGEST_NAME = 24
LEAST_DRAWN, LEAST_COLOURFUL = 0.12, 12
"""Share of the picture that is drawn, and spread of its colours."""
Slot = tuple[float, float, float, int]
"""Left, top and width in pixels, and which picture."""


@dataclass(frozen=True)
class Atlas:
    """uint8 (pictures, WIDTH, WIDTH, 4) in RGBA, and their names. The first `things` are of a font, the others shapes,
    named "red circle", each of SHAPES in each of COLOURS, in this order."""

    pixels: np.ndarray
    names: tuple[str, ...]

    @property
    def things(self) -> int:
        return len(self.names) - len(SHAPES) * len(COLOURS)


def build_atlas(font: Path | None) -> Atlas:
    """The pictures of a colour font, none where there is no font, and the shapes. Raises InputError for a file that is
    no such font."""
    pictures = _of_font(font) if font else {}
    for shape, colour in product(SHAPES, COLOURS):
        image = Image.new("RGBA", (WIDTH * 2, WIDTH * 2))
        draw_shape(ImageDraw.Draw(image), shape, 2, 2, WIDTH * 2 - 5, COLOURS[colour])
        pictures[f"{colour} {shape}"] = np.asarray(image.resize((WIDTH, WIDTH), Image.Resampling.LANCZOS))
    return Atlas(np.stack(list(pictures.values())), tuple(pictures))


def _of_font(file: Path) -> dict[str, np.ndarray]:
    try:
        font = ImageFont.truetype(file, FONT_SIZE)
    except OSError as error:
        raise InputError(f"{file} is no colour font that can be read ({error}): name NotoColorEmoji.ttf.") from error
    pictures: dict[str, np.ndarray] = {}
    for code in (code for first, last in RANGES for code in range(first, last + 1)):
        name = unicodedata.name(chr(code), "")
        if not name or len(name) > LONGEST_NAME or any(part in name for part in NO_THINGS):
            continue
        name = name.lower().replace(" symbol", "")
        image = Image.new("RGBA", (FONT_BOX, FONT_BOX))
        ImageDraw.Draw(image).text((0, 0), chr(code), font=font, embedded_color=True)
        pixels = np.asarray(image)
        seen = pixels[pixels[..., 3] > 128][:, :3].astype(float)
        if name in pictures or not len(seen) or (pixels[..., 3] > 0).mean() < LEAST_DRAWN:
            continue
        if seen.std(axis=0).sum() >= LEAST_COLOURFUL:
            pictures[name] = np.asarray(image.resize((WIDTH, WIDTH), Image.Resampling.LANCZOS))
    if not pictures:
        raise InputError(f"{file} draws none of the pictures: name NotoColorEmoji.ttf.")
    return pictures


def arrange(rng: random.Random, box: tuple[float, float, float, float], which: list[int]) -> list[Slot]:
    """Pictures in a box, by rows, none touching another, as davsp.drawing.shapes arranges shapes."""
    left, top, right, bottom = box
    columns = math.ceil(math.sqrt(len(which) * (right - left) / (bottom - top)))
    rows = math.ceil(len(which) / columns)
    width, height = (right - left) / columns, (bottom - top) / rows
    cells = sorted(rng.sample(list(product(range(rows), range(columns))), len(which)))
    slots: list[Slot] = []
    for number, (row, column) in zip(which, cells, strict=True):
        side = min(width, height) * rng.uniform(0.5, 0.95)
        if len(which) > 1:
            side = min(side, (bottom - top) / 2)
        x = left + column * width + rng.uniform(0.02, 0.98) * (width - side)
        y = top + row * height + rng.uniform(0.02, 0.98) * (height - side)
        slots.append((x, y, side, number))
    return slots
