"""Coloured shapes, the scenes made of them, and questions about them that have one right answer."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import product

from PIL import Image, ImageDraw

Rgb = tuple[int, int, int]
Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels."""

COLOURS: dict[str, Rgb] = {
    "red": (214, 39, 40),
    "green": (44, 145, 60),
    "blue": (31, 90, 200),
    "yellow": (245, 205, 20),
    "orange": (250, 130, 20),
    "purple": (130, 60, 170),
    "pink": (245, 130, 190),
    "brown": (125, 75, 40),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond")
PAPER: Rgb = (250, 250, 247)
OUTLINE: Rgb = (90, 90, 90)
MOST = 9
"""Shapes in a picture to be counted: from 1 to so many."""
COUNT_QUESTIONS = ("How many {} are in the picture?", "Count the {} in the image.", "How many {} do you see?")
COLOUR_QUESTIONS = ("What colour is the {}?", "Which colour does the {} have?", "Name the colour of the {}.")


def draw_shape(
    pen: ImageDraw.ImageDraw, shape: str, left: float, top: float, side: float, fill: Rgb, outline: Rgb = OUTLINE
) -> None:
    """Draw one of SHAPES into the square of `side` pixels at (left, top)."""
    match shape:
        case "circle":
            pen.ellipse((left, top, left + side, top + side), fill=fill, outline=outline)
        case "square":
            pen.rectangle((left, top, left + side, top + side), fill=fill, outline=outline)
        case _:
            corners = [(left + side * u, top + side * v) for u, v in _CORNERS[shape]]
            pen.polygon(corners, fill=fill, outline=outline)


def draw_shapes(image: Image.Image, box: Box, items: Sequence[tuple[str, str]], rng: random.Random) -> None:
    """Draw shapes, each with the name of its colour, into a part of an image; none touches another or its edge."""
    left, top, right, bottom = box
    columns = math.ceil(math.sqrt(len(items) * (right - left) / (bottom - top)))
    rows = math.ceil(len(items) / columns)
    width, height = (right - left) / columns, (bottom - top) / rows
    cells = rng.sample(list(product(range(columns), range(rows))), len(items))
    pen = ImageDraw.Draw(image)
    for (shape, colour), (column, row) in zip(items, cells, strict=True):
        side = min(width, height, (bottom - top) / 2) * rng.uniform(0.5, 0.85)
        x = left + column * width + rng.uniform(0.05, 0.95) * (width - side)
        y = top + row * height + rng.uniform(0.05, 0.95) * (height - side)
        draw_shape(pen, shape, round(x), round(y), round(side), COLOURS[colour])


def draw_scene(image: Image.Image, box: Box, rng: random.Random) -> None:
    """Draw a few shapes of any kind and colour, which mean nothing."""
    items = [(rng.choice(SHAPES), rng.choice(list(COLOURS))) for _ in range(rng.randint(2, 5))]
    draw_shapes(image, box, items, rng)


def count_question(side: int, rng: random.Random) -> tuple[Image.Image, str, str]:
    """A picture of one to MOST shapes, a question how many there are, and the number in digits."""
    count, shape = rng.randint(1, MOST), rng.choice(SHAPES)
    image = Image.new("RGB", (side, side), PAPER)
    items = [(shape, rng.choice(list(COLOURS))) for _ in range(count)]
    draw_shapes(image, (0, 0, side, side), items, rng)
    return image, rng.choice(COUNT_QUESTIONS).format(plural(shape)), str(count)


def colour_question(side: int, rng: random.Random) -> tuple[Image.Image, str, str]:
    """A picture of two to four shapes of different kinds and colours, a question about the colour of one, and it."""
    count = rng.randint(2, 4)
    items = list(zip(rng.sample(SHAPES, count), rng.sample(list(COLOURS), count), strict=True))
    image = Image.new("RGB", (side, side), PAPER)
    draw_shapes(image, (0, 0, side, side), items, rng)
    shape, colour = items[0]
    return image, rng.choice(COLOUR_QUESTIONS).format(shape), colour


def plural(shape: str) -> str:
    """What several of SHAPES are called."""
    return {"cross": "crosses"}.get(shape, f"{shape}s")


def _star() -> list[tuple[float, float]]:
    points = []
    for i in range(10):
        radius, angle = (0.5 if i % 2 == 0 else 0.2), math.pi * i / 5
        points.append((0.5 + radius * math.sin(angle), 0.5 - radius * math.cos(angle)))
    return points


_CORNERS: dict[str, list[tuple[float, float]]] = {
    "triangle": [(0.5, 0.0), (1.0, 1.0), (0.0, 1.0)],
    "diamond": [(0.5, 0.0), (1.0, 0.5), (0.5, 1.0), (0.0, 0.5)],
    "cross": [(u / 3, v / 3) for u, v in [(1, 0), (2, 0), (2, 1), (3, 1), (3, 2), (2, 2), (2, 3), (1, 3)]]
    + [(1 / 3, 2 / 3), (0, 2 / 3), (0, 1 / 3), (1 / 3, 1 / 3)],
    "star": _star(),
}
"""Corners of shapes in a square of side 1."""
