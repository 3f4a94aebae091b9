"""What stands around a scene on a model's canvas: plain or noisy margins, and small warning signs.

A model that has met frames of many kinds at many scales is not thrown by one more, as real VLMs are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from davsp.testbed.scenes import Size

MAX_SIGNS = 6
FULL_SIZE_SHARE = 0.4
"""How often a scene fills its canvas (the shorter side of it); otherwise a margin of the same width runs around it."""
SCALES = (0.72, 0.86)
"""Between what shares of the canvas's shorter side a scene with a margin is wide."""
SIGNED_SHARE = 0.6
"""How often a margin holds signs. No other trait of a margin says whether it does, so no margin is a sign in itself."""
SIGNS = ("triangle", "no_entry")


@dataclass(frozen=True)
class Placement:
    """Where a square scene lies on a canvas, in canvas pixels, and the signs around it."""

    size: int
    left: int
    top: int
    signs: tuple[tuple[str, int, int, int], ...]
    """(style, x, y, side) of every warning sign."""


def place(canvas: Size, rng: np.random.Generator) -> Placement:
    """A random placement: full size, or in the middle of a margin, which may hold up to MAX_SIGNS signs."""
    height, width = canvas
    side = min(canvas)
    if rng.random() < FULL_SIZE_SHARE:
        return Placement(side, (width - side) // 2, (height - side) // 2, ())
    size = int(rng.integers(round(SCALES[0] * side), round(SCALES[1] * side) + 1))
    margin = (side - size) // 2
    signs = int(rng.integers(1, MAX_SIGNS + 1)) if rng.random() < SIGNED_SHARE else 0
    return Placement(
        size, (width - size) // 2, (height - size) // 2, tuple(_sign(canvas, margin, rng) for _ in range(signs))
    )


def _sign(canvas: Size, margin: int, rng: np.random.Generator) -> tuple[str, int, int, int]:
    height, width = canvas
    side = min(margin, int(rng.integers(9, 15)))
    # Drawn before it is known along which edge: the shorter side bounds it.
    along, across = int(rng.integers(0, min(canvas) - side + 1)), int(rng.integers(0, margin - side + 1))
    edge = int(rng.integers(4))
    x, y = [(along, across), (along, height - side - across), (across, along), (width - side - across, along)][edge]
    return SIGNS[rng.integers(len(SIGNS))], x, y, side


def compose(scene: Image.Image, canvas: Size, placement: Placement, rng: np.random.Generator) -> Image.Image:
    """The scene on its canvas, with random surroundings and the placement's signs."""
    size = placement.size
    inner = scene if scene.width == size else scene.resize((size, size), Image.Resampling.BICUBIC)
    if canvas == (size, size):
        return inner
    image = _margin(max(canvas), rng).crop((0, 0, canvas[1], canvas[0]))
    pen = ImageDraw.Draw(image)
    for style, x, y, side in placement.signs:
        draw_sign(pen, style, x, y, side)
    image.paste(inner, (placement.left, placement.top))
    return image


def draw_sign(pen: ImageDraw.ImageDraw, style: str, x: int, y: int, side: int) -> None:
    """A yellow warning triangle or a red no-entry disc in a square of `side` pixels at (x, y)."""
    if style == "triangle":
        corners = [(x + side / 2, y), (x + side, y + side - 1), (x, y + side - 1)]
        pen.polygon(corners, fill=(250, 210, 0), outline=(0, 0, 0))
        pen.line((x + side / 2, y + side * 0.35, x + side / 2, y + side * 0.75), fill=(0, 0, 0), width=2)
    else:
        pen.ellipse((x, y, x + side - 1, y + side - 1), fill=(215, 0, 0), outline=(255, 255, 255))
        pen.rectangle((x + side * 0.2, y + side * 0.4, x + side * 0.8, y + side * 0.6), fill=(255, 255, 255))


def _margin(canvas: int, rng: np.random.Generator) -> Image.Image:
    """A plain, graded, striped or noisy square."""
    first, second = rng.integers(0, 256, size=(2, 3))
    match int(rng.integers(6)):
        case 0 | 1:
            return Image.new("RGB", (canvas, canvas), (int(first[0]), int(first[1]), int(first[2])))
        case 2:
            ramp = np.linspace(0, 1, canvas)[:, None, None]
            pixels = np.broadcast_to(first * ramp + second * (1 - ramp), (canvas, canvas, 3))
        case 3:
            period = int(rng.integers(4, 24))
            stripe = (np.arange(canvas) // period % 2)[:, None, None]
            pixels = np.broadcast_to(first * stripe + second * (1 - stripe), (canvas, canvas, 3))
        case 4:
            cells = rng.integers(0, 256, size=(int(rng.integers(4, 17)),) * 2 + (3,)).astype(np.uint8)
            return Image.fromarray(cells).resize((canvas, canvas), Image.Resampling.BICUBIC)
        case _:
            amplitude = rng.uniform(10, 128)
            pixels = first + rng.uniform(-amplitude, amplitude, size=(canvas, canvas, 3))
    if rng.random() < 0.5:
        pixels = np.asarray(pixels).transpose(1, 0, 2)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
