"""How the scenes of queries are composed: where words, pictures and shapes stand."""

from __future__ import annotations

import numpy as np

from davsp.testbed.scenes import SIZE, Item, Rgb, Scene, Shape, Sprite, Word, font
from davsp.testbed.world import COLOURS, SHAPES, Activity

TEXT_SIZES = (36, 40)
"""Font sizes in pixels, from and up to but not including."""
SHAPE_SIZE = 56
"""Side of the shapes to name and count, in pixels."""
LIST_SIZE = 0.75
"""How large the numbers of an empty list are, as a share of the words above it."""


def to_rgb(values: np.ndarray) -> Rgb:
    """Three integers as a colour."""
    red, green, blue = values
    return int(red), int(green), int(blue)


def ink_and_paper(rng: np.random.Generator) -> tuple[Rgb, Rgb]:
    """A dark and a light colour."""
    return to_rgb(rng.integers(0, 90, size=3)), to_rgb(rng.integers(175, 256, size=3))


def inked_scene(items: list[Item], rng: np.random.Generator) -> Scene:
    """Items on paper of a random light colour, their words in a random dark ink."""
    ink, paper = ink_and_paper(rng)
    inked = tuple(Word(i.text, i.x, i.y, i.size, ink) if isinstance(i, Word) else i for i in items)
    return Scene(inked, paper)


def _word(text: str, x: float, y: float, size: int) -> Word:
    return Word(text, x, y, size, (0, 0, 0))


def text_lines(words: tuple[str, ...], rng: np.random.Generator) -> list[Item]:
    """Words one below the other, somewhere in the image."""
    size = int(rng.integers(*TEXT_SIZES))
    step = size * rng.uniform(1.15, 1.4)
    top = rng.uniform(4, SIZE - step * len(words) - 6)
    widest = max(font(size).getlength(w) for w in words)
    left = rng.uniform(6, SIZE - widest - 6)
    return [_word(w, left, top + i * step, size) for i, w in enumerate(words)]


def pictured(activity: Activity, rng: np.random.Generator) -> Scene:
    """The activity's object as a picture."""
    size = int(rng.integers(96, 152))
    x, y = rng.uniform(8, SIZE - size - 8, size=2)
    return inked_scene([Sprite(activity.object, x, y, size)], rng)


def written(activity: Activity, rng: np.random.Generator) -> Scene:
    """The activity as text: verb and object, one below the other."""
    return inked_scene(text_lines((activity.verb, activity.object), rng), rng)


def captioned(activity: Activity, rng: np.random.Generator) -> Scene:
    """The activity's object as a picture with its name below."""
    size, letters = int(rng.integers(96, 132)), int(rng.integers(*TEXT_SIZES))
    x, y = rng.uniform(8, SIZE - size - 8), rng.uniform(6, SIZE - size - letters * 1.3 - 8)
    left = rng.uniform(6, SIZE - font(letters).getlength(activity.object) - 6)
    caption = _word(activity.object, left, y + size + 4, letters)
    return inked_scene([Sprite(activity.object, x, y, size), caption], rng)


def listed(activity: Activity, rng: np.random.Generator) -> Scene:
    """Two lines of title and a numbered list with nothing in it, which is set a little smaller."""
    size = int(rng.integers(*TEXT_SIZES))
    sizes = (size, size, *[round(size * LIST_SIZE)] * 3)
    widest = max(font(size).getlength(word) for word in (activity.verb, activity.object))
    left, top = rng.uniform(6, SIZE - widest - 6), rng.uniform(3, SIZE - 1.2 * sum(sizes) - 4)
    items: list[Item] = []
    for row, letters in zip((activity.verb, activity.object, "1.", "2.", "3."), sizes, strict=True):
        items.append(_word(row, left, top, letters))
        top += 1.2 * letters
    return inked_scene(items, rng)


def unrelated(activity: Activity, rng: np.random.Generator) -> Scene:  # noqa: ARG001
    """A shape, whatever the activity is."""
    shape, colour = str(rng.choice(SHAPES)), str(rng.choice(list(COLOURS)))
    return inked_scene(spread_shapes([(shape, colour)], rng), rng)


def spread_shapes(shapes: list[tuple[str, str]], rng: np.random.Generator) -> list[Item]:
    """Shapes of one size in different cells of a 3 x 2 grid, so that none covers another."""
    cells = rng.permutation(6)[: len(shapes)]
    size = SHAPE_SIZE
    placed: list[Item] = []
    for (shape, colour), cell in zip(shapes, cells, strict=True):
        x = 6 + (cell % 3) * 72 + rng.uniform(0, 66 - size)
        y = 16 + (cell // 3) * 102 + rng.uniform(0, 90 - size)
        placed.append(Shape(str(shape), str(colour), x, y, size))
    return placed
