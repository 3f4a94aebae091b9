"""Images before they are drawn: paper and ink, where letters and pictures stand, and what the tower should see."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from davsp.drawing.kinds import LOOKS
from davsp.drawing.lettering import LEADING
from davsp.drawing.shapes import PAPER, Rgb
from davsp.testbed.smol.pretraining.layout import GRID, PATCH, SIDE, UNKNOWN, Layout, Typesetter
from davsp.testbed.smol.pretraining.pictures import Slot, arrange

GROUNDS: dict[str, Rgb] = {
    "red": (220, 40, 40),
    "green": (50, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (240, 220, 60),
    "white": (250, 250, 250),
    "black": (15, 15, 15),
    "orange": (245, 150, 40),
    "purple": (140, 60, 170),
    "pink": (250, 170, 190),
    "grey": (135, 135, 135),
    "brown": (120, 75, 35),
}
"""Colours of backgrounds, by the names that they are asked for."""
FRAMED = 0.08
"""Share of images whose outer patches are covered with something else: colour, noise or blobs."""
FRAME_KINDS = 4
CONTRAST = 90
"""Least difference in brightness, of 255, between paper and ink of any colours."""
NAME_TOKENS = 5
STRIP_TOP = 0.58
"""Where the text below a picture begins, as a share of the side."""


@dataclass
class Sketch:
    """One image: paper above `split` is `upper`; texture are the strengths of blobs and of noise, of 1; `frame` is 0
    for none."""

    layout: Layout = field(default_factory=Layout)
    pictures: list[Slot] = field(default_factory=list)
    paper: Rgb = (255, 255, 255)
    ink: Rgb = (0, 0, 0)
    upper: Rgb = (255, 255, 255)
    split: int = 0
    texture: tuple[float, float] = (0.0, 0.0)
    blur: float = 0.0
    frame: int = 0


@dataclass(frozen=True)
class Draughtsman:
    """Sketches images. `lists`: the faces of FigStep's lists; `shipped`: those that come with davsp; `names`: tokens of
    each picture's name, of which the first `things` are no shapes."""

    setter: Typesetter
    faces: int
    lists: Sequence[int]
    shipped: Sequence[int]
    names: Sequence[Sequence[int]]
    things: int

    def page(self, text: str, rng: random.Random) -> Sketch | None:
        """A text on a page of its own."""
        edge = SIDE * rng.uniform(0.02, 0.11)
        down = rng.choice((0.0, 0.5, 0.5, 1.0)) if rng.random() < 0.7 else rng.random()
        largest = SIDE * (rng.uniform(0.07, 0.13) if rng.random() < 0.7 else rng.uniform(0.04, 0.09))
        leading = LEADING if rng.random() < 0.5 else rng.uniform(1.0, 1.4)
        box = (edge, edge, SIDE - edge, SIDE - edge)
        layout = self.setter.fit(text, self._face(rng), box, largest, leading, centred=rng.random() < 0.5, down=down)
        if layout is None:
            return None
        sketch = Sketch(layout)
        self._dress(sketch, rng, framed=edge >= PATCH)
        return sketch

    def list_of(self, text: str, rng: random.Random) -> Sketch | None:
        """A text as the title of an empty numbered list, as FigStep's."""
        left, top = SIDE * 20 / 760, SIDE * 10 / 760
        box = (left, top, SIDE - left * rng.choice((0.2, 1.0)), SIDE - top)
        face = rng.choice(self.lists) if rng.random() < 0.85 else self._face(rng)
        largest = SIDE * 80 / 760 * (1.0 if rng.random() < 0.6 else rng.uniform(0.6, 1.0))
        layout = self.setter.fit(f"{text}\n1.\n2.\n3.", face, box, largest, rng.choice((1.0, rng.uniform(1.0, 1.15))))
        if layout is None:
            return None
        sketch = Sketch(layout)
        if rng.random() < 0.25:
            self._dress(sketch, rng, framed=False)
        return sketch

    def captioned(self, text: str, rng: random.Random) -> Sketch | None:
        """A text below a picture."""
        edge = SIDE * 0.05
        box = (edge, STRIP_TOP * SIDE + edge / 2, SIDE - edge, SIDE - edge / 2)
        largest = SIDE * rng.uniform(0.07, 0.13)
        layout = self.setter.fit(text, self._face(rng), box, largest, LEADING, centred=rng.random() < 0.85, down=0.5)
        if layout is None:
            return None
        sketch = Sketch(layout, split=round(STRIP_TOP * SIDE), upper=rng.choice(LOOKS)[0])
        if rng.random() < 0.6:
            which = [self._shape(rng) for _ in range(rng.randint(2, 5))]
        else:
            which = [rng.randrange(self.things or len(self.names)) for _ in range(rng.randint(1, 2))]
        self._put(sketch, arrange(rng, (0, 0, SIDE, sketch.split), which))
        return sketch

    def named(self, rng: random.Random) -> tuple[Sketch, list[int], str]:
        """One to four pictures on a ground of a colour: the image, which they are by rows, and the colour's name."""
        count = rng.choices((1, 2, 3, 4), (6, 2, 1, 1))[0]
        which = rng.sample(range(self.things or len(self.names)), count)
        colour = rng.choice(list(GROUNDS))
        paper = _near(GROUNDS[colour], rng, 10)
        sketch = Sketch(paper=paper, upper=paper)
        edge = PATCH * rng.choice((0.5, 1.0))
        self._put(sketch, arrange(rng, (edge, edge, SIDE - edge, SIDE - edge), which))
        self._finish(sketch, rng, framed=edge >= PATCH)
        return sketch, which, colour

    def shapes(self, items: Sequence[int], rng: random.Random) -> Sketch:
        """Shapes to be counted, or to be told apart by colour; `items` are pictures."""
        paper = PAPER if rng.random() < 0.8 else rng.choice(LOOKS)[0]
        sketch = Sketch(paper=paper, upper=paper)
        self._put(sketch, arrange(rng, (0, 0, SIDE, SIDE), list(items)))
        if rng.random() < 0.3:
            self._finish(sketch, rng, framed=False)
        return sketch

    def scene(self, rng: random.Random) -> Sketch:
        """A picture that means nothing; it may be empty."""
        count = 0 if rng.random() < 0.3 else rng.randint(2, 5)
        return (
            self.shapes([self._shape(rng) for _ in range(count)], rng) if count else Sketch(paper=rng.choice(LOOKS)[0])
        )

    def _face(self, rng: random.Random) -> int:
        return rng.choice(self.shipped) if rng.random() < 0.35 else rng.randrange(self.faces)

    def _shape(self, rng: random.Random) -> int:
        return rng.randrange(self.things, len(self.names))

    def _put(self, sketch: Sketch, slots: Sequence[Slot]) -> None:
        """Put pictures there, their names' tokens side by side across the middle of each."""
        sketch.pictures = list(slots)
        for left, top, width, number in slots:
            row, column = min(GRID - 1, int((top + width / 2) / PATCH)), int((left + width * 0.2) / PATCH)
            for i, token in enumerate(self.names[number][:NAME_TOKENS]):
                if column + i < GRID:
                    sketch.layout.tokens[row, column + i] = token

    def _dress(self, sketch: Sketch, rng: random.Random, *, framed: bool) -> None:
        """Give it paper and ink: those of our own drawings, or any that differ enough."""
        if rng.random() < 0.55:
            paper, ink = rng.choice(LOOKS)
        else:
            paper, ink = _any(rng), _any(rng)
            while abs(_brightness(paper) - _brightness(ink)) < CONTRAST:
                paper, ink = _any(rng), _any(rng)
        sketch.paper, sketch.upper, sketch.ink = paper, paper, ink
        self._finish(sketch, rng, framed=framed)

    def _finish(self, sketch: Sketch, rng: random.Random, *, framed: bool) -> None:
        sketch.texture = (0.3 if rng.random() < 0.2 else 0.0, 0.12 if rng.random() < 0.2 else 0.0)
        sketch.blur = rng.random() if rng.random() < 0.35 else 0.0
        if framed and rng.random() < 2 * FRAMED:
            sketch.frame = rng.randint(1, FRAME_KINDS)


def name_ground(sketch: Sketch, token: int) -> None:
    """Have the patches in the corners name the colour of the ground, unless a frame hides them."""
    corners = sketch.layout.tokens[:: GRID - 1, :: GRID - 1]
    corners[corners == -1] = UNKNOWN if sketch.frame else token


def pack(sketches: Sequence[Sketch]) -> dict[str, np.ndarray]:
    """Sketches as arrays: of all glyphs and all pictures one after the other, "glyph_ends" and "picture_ends" say where
    each image's end."""
    layouts = [sketch.layout for sketch in sketches]
    pictures = [(row, *slot) for row, sketch in enumerate(sketches) for slot in sketch.pictures]
    return {
        "glyphs": np.array([glyph for layout in layouts for glyph in layout.glyphs], np.int32),
        "left": np.array([x for layout in layouts for x in layout.left], np.int16),
        "top": np.array([y for layout in layouts for y in layout.top], np.int16),
        "glyph_ends": np.cumsum([len(layout.glyphs) for layout in layouts]),
        "pictures": np.array(pictures, np.float32).reshape(-1, 5),
        "picture_ends": np.cumsum([len(sketch.pictures) for sketch in sketches]),
        "colours": np.array([[s.paper, s.ink, s.upper] for s in sketches], np.uint8),
        "split": np.array([sketch.split for sketch in sketches], np.int16),
        "strengths": np.array([[*sketch.texture, sketch.blur] for sketch in sketches], np.float32),
        "frame": np.array([sketch.frame for sketch in sketches], np.int8),
        "letters": np.stack([layout.letters for layout in layouts]),
        "tokens": np.stack([layout.tokens for layout in layouts]),
    }


def _near(colour: Rgb, rng: random.Random, spread: int) -> Rgb:
    red, green, blue = (min(255, max(0, value + rng.randint(-spread, spread))) for value in colour)
    return red, green, blue


def _any(rng: random.Random) -> Rgb:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _brightness(colour: Rgb) -> float:
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
