"""Where each letter of a text stands in an image, and what the tower should see in which patch. No pixels: those are
drawn on the device, from glyphs that are rendered once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tokenizers import Tokenizer

SIDE, PATCH = 224, 16
GRID = SIDE // PATCH
CHARACTERS = "".join(map(chr, range(33, 127)))
FIRST = ord(" ")
SIZES = (9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 24, 26, 29, 32)
BOX, CORNER = 44, (4, 2)
"""Side of a glyph's picture in pixels, and where in it the letter's own origin lies."""
FINER = 4
"""Glyphs are drawn so many times as large and averaged down, as images are that a model shrinks."""
PHASES = 2
"""Of each glyph there is one for every 1 / PHASES of a pixel that it may be shifted by."""
SLOTS = 4
"""Letters of a line whose middles lie in one patch; those of two lines, as small letters have, are told apart."""
UNKNOWN = -2
"""In place of a token: a patch of which is not said what it should become."""
FileName = str | Path


@dataclass(frozen=True)
class Face:
    """A typeface: uint8 (SIZES, PHASES, CHARACTERS, BOX, BOX) glyphs, advances from " " on and heights, by size."""

    glyphs: np.ndarray
    advances: list[list[float]]
    heights: list[float]


@dataclass
class Layout:
    """A text in an image: glyphs by number within all faces', their corners in pixels, int8 (GRID, GRID, 2 * SLOTS)
    letters by patch (-1: none) and int32 (GRID, GRID) tokens by patch (-1: none)."""

    glyphs: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    top: list[int] = field(default_factory=list)
    letters: np.ndarray = field(default_factory=lambda: np.full((GRID, GRID, 2 * SLOTS), -1, np.int8))
    tokens: np.ndarray = field(default_factory=lambda: np.full((GRID, GRID), -1, np.int32))


def render(file: FileName) -> Face:
    """All glyphs of a typeface. Raises OSError for a file that is no font."""
    glyphs = np.zeros((len(SIZES), PHASES, len(CHARACTERS), BOX, BOX), np.uint8)
    advances, heights = [], []
    for i, size in enumerate(SIZES):
        font = ImageFont.truetype(file, size * FINER, layout_engine=ImageFont.Layout.BASIC)
        for phase in range(PHASES):
            corner = CORNER[0] * FINER + phase * FINER // PHASES, CORNER[1] * FINER
            for j, character in enumerate(CHARACTERS):
                image = Image.new("L", (BOX * FINER, BOX * FINER))
                ImageDraw.Draw(image).text(corner, character, font=font, fill=255)
                glyphs[i, phase, j] = np.asarray(image.reduce(FINER))
        advances.append([font.getlength(character) / FINER for character in " " + CHARACTERS])
        heights.append(sum(font.getmetrics()) / FINER)
    return Face(glyphs, advances, heights)


@dataclass(frozen=True)
class Typesetter:
    """Sets texts in faces, whose glyphs it needs not. `tokenizer`: the decoder's."""

    advances: Sequence[list[list[float]]]
    heights: Sequence[list[float]]
    tokenizer: Tokenizer

    def fit(
        self,
        text: str,
        face: int,
        box: tuple[float, float, float, float],
        largest: float,
        leading: float,
        *,
        centred: bool = False,
        down: float = 0.0,
    ) -> Layout | None:
        """The text in a box (left, top, right, bottom), in the largest letters up to `largest` pixels that fit; None
        where none does. `leading`: from line to line, in sizes; `down`: at the top (0) to at the bottom (1)."""
        left, top, right, bottom = box
        for i in range(len(SIZES) - 1, -1, -1):
            if SIZES[i] > max(largest, SIZES[0]):
                continue
            height = self.heights[face][i]
            pitch = max(leading * SIZES[i], height)
            lines = self._wrap(text, self.advances[face][i], right - left)
            if lines and (len(lines) - 1) * pitch + height <= bottom - top:
                break
        else:
            return None
        layout = Layout()
        y = top + down * (bottom - top - (len(lines) - 1) * pitch - height)
        for line, width in lines:
            x = left + (right - left - width) / 2 if centred else left
            self._set(layout, line, face, i, x, y, y + height / 2)
            y += pitch
        return layout

    def _wrap(self, text: str, advances: list[float], most: float) -> list[tuple[str, float]]:
        """Lines and their widths; none where a word is wider than `most`."""
        lines: list[tuple[str, float]] = []
        for part in text.split("\n"):
            line, used = "", 0.0
            for word in part.split():
                width = sum(advances[ord(c) - FIRST] for c in word)
                if width > most:
                    return []
                if line and used + advances[0] + width <= most:
                    line, used = f"{line} {word}", used + advances[0] + width
                    continue
                if line:
                    lines.append((line, used))
                line, used = word, width
            if line:
                lines.append((line, used))
        return lines

    def _set(self, layout: Layout, line: str, face: int, size: int, x: float, y: float, middle: float) -> None:
        advances = self.advances[face][size]
        ends = [x]
        for character in line:
            ends.append(ends[-1] + advances[ord(character) - FIRST])
        row, half = int(middle // PATCH), int(middle % PATCH >= PATCH / 2)
        base = (face * len(SIZES) + size) * PHASES * len(CHARACTERS)
        filled = [half * SLOTS] * GRID
        for i, character in enumerate(line):
            if character == " ":
                continue
            shift = round(ends[i] * PHASES)
            layout.glyphs.append(base + shift % PHASES * len(CHARACTERS) + ord(character) - FIRST - 1)
            layout.left.append(shift // PHASES)
            layout.top.append(round(y))
            column = int((ends[i] + ends[i + 1]) / 2 // PATCH)
            if 0 <= row < GRID and 0 <= column < GRID and filled[column] < (half + 1) * SLOTS:
                layout.letters[row, column, filled[column]] = ord(character) - FIRST - 1
                filled[column] += 1
        if 0 <= row < GRID:
            self._name(layout.tokens[row], line, ends)

    def _name(self, row: np.ndarray, line: str, ends: list[float]) -> None:
        """The tokens of a line, each in the patch of its middle, or the next that is free of this line's."""
        encoded = self.tokenizer.encode(" " + line, add_special_tokens=False)
        last = -1
        for token, (start, end) in zip(encoded.ids, encoded.offsets, strict=True):
            start, end = max(start - 1, 0), end - 1
            if end <= 0:
                continue
            column = max(int((ends[start] + ends[end]) / 2 // PATCH), last + 1)
            if column < GRID:
                row[column] = token if row[column] == -1 else UNKNOWN
                last = column
