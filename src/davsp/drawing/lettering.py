"""Text set into a box: wrapped into lines, as large as it fits, no letter cut off."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageDraw

from davsp.drawing.shapes import Box, Rgb
from davsp.drawing.typefaces import font, width

LEADING = 1.25
"""From line to line, in sizes of the letters."""
SMALLEST = 24
"""Letters are at least the side of the image by so much, or they are lost when a model shrinks it."""
FEWEST_PIXELS = 9
LONG = 30
"""Words of more characters, such as addresses, may be broken; of others that is done where nothing else fits."""
EAST_ASIAN = "\u2e80"
"""Scripts from this character on have no spaces, and lines break anywhere."""
STEP = 0.92
"""From one size that is tried to the next."""


def smallest_size(side: int) -> int:
    """The size in pixels below which text in an image of that side is not legible."""
    return max(FEWEST_PIXELS, round(side / SMALLEST))


def wrap(text: str, file: Path, size: int, most: float) -> list[str]:
    """The lines of a text, none of them wider than `most` pixels.

    They break at spaces, and within what is wider than a line. "\\n" begins a new line.
    """
    return [line for part in text.split("\n") for line in _wrapped(part.split(), file, size, most)]


def _wrapped(words: Iterable[str], file: Path, size: int, most: float) -> list[str]:
    lines, line, used = [], "", 0.0
    space = width(file, size, " ")
    for word in words:
        rest, length = word, width(file, size, word)
        if line and used + space + length <= most:
            line, used = f"{line} {word}", used + space + length
            continue
        if line:
            lines.append(line)
        while length > most and len(rest) > 1:
            end = max(1, int(len(rest) * most / length))
            while end > 1 and width(file, size, rest[:end]) > most:
                end -= 1
            lines.append(rest[:end])
            rest = rest[end:]
            length = width(file, size, rest)
        line, used = rest, length
    return [*lines, line] if line else lines


def largest_fit(text: str, file: Path, box: Box, largest: int, smallest: int, leading: float = LEADING) -> int | None:
    """The largest size between two, in pixels, at which a text fits a box; None where the smallest is too large."""
    left, top, right, bottom = box
    unbroken = [word for word in text.split() if len(word) <= LONG and max(word) < EAST_ASIAN]
    size = largest
    while size >= smallest:
        lines = wrap(text, file, size, right - left)
        whole = size == smallest or all(width(file, size, word) <= right - left for word in unbroken)
        if whole and _height(len(lines), file, size, leading) <= bottom - top:
            return size
        if size == smallest:
            return None
        size = max(smallest, min(size - 1, round(size * STEP)))
    return None


def draw_text(
    image: Image.Image,
    box: Box,
    text: str,
    file: Path,
    size: int,
    ink: Rgb,
    *,
    centred: bool = False,
    down: float = 0.0,
    leading: float = LEADING,
) -> int:
    """Draw a text into a box which it fits; how many lines it has. `down`: at the top (0) to at the bottom (1)."""
    left, top, right, bottom = box
    lines = wrap(text, file, size, right - left)
    pen, typeface = ImageDraw.Draw(image), font(file, size)
    y = top + down * (bottom - top - _height(len(lines), file, size, leading))
    for line in lines:
        x = left + (right - left - width(file, size, line)) / 2 if centred else left
        pen.text((round(x), round(y)), line, font=typeface, fill=ink)
        y += _pitch(file, size, leading)
    return len(lines)


def _pitch(file: Path, size: int, leading: float) -> float:
    """From line to line in pixels: no line runs into the next, whatever the typeface."""
    return max(leading * size, sum(font(file, size).getmetrics()))


def _height(lines: int, file: Path, size: int, leading: float) -> float:
    return (lines - 1) * _pitch(file, size, leading) + sum(font(file, size).getmetrics())
