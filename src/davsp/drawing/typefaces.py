"""Typefaces: those that come with davsp, so that the same seed draws the same pixels everywhere, or a user's own."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from PIL import ImageFont

from davsp.errors import InputError

SHIPPED_FOLDER = Path(str(files("davsp") / "drawing" / "dejavu"))
PROBE_SIZE = 40
"""Pixels at which a character is drawn to see whether a typeface has it."""
_NO_CHARACTER = "\U0010fffd"
_RIGHT_TO_LEFT = ("R", "AL", "RLE", "RLO", "RLI", "AN")


@dataclass(frozen=True)
class Typefaces:
    """Font files: `running` for running text, one of which is chosen for every picture, `list` for FigStep's lists."""

    running: tuple[Path, ...]
    list: Path

    def check(self, text: str) -> None:
        """Raise InputError, naming the character, for a text that one of the typefaces cannot draw as it is written."""
        for character in dict.fromkeys(text):
            if character == " ":
                continue
            if problem := _cannot_draw(character):
                raise InputError(f"{_named(character)} {problem}")
            for file in (*self.running, self.list):
                if not _has(file, character):
                    raise InputError(
                        f"{_named(character)} is not in the typeface {file.name}. Give a font file that has it: "
                        "--font FILE."
                    )


SHIPPED = Typefaces(
    (SHIPPED_FOLDER / "DejaVuSans.ttf", SHIPPED_FOLDER / "DejaVuSerif.ttf"), SHIPPED_FOLDER / "DejaVuSansMono-Bold.ttf"
)
"""DejaVu: Latin, Greek and Cyrillic letters. FigStep's published images are in FreeMono Bold, which is as wide."""


def typefaces(fonts: Sequence[Path] = ()) -> Typefaces:
    """The typefaces of these font files, the first of which draws FigStep's lists too; those that come with davsp
    where there are none. Raises InputError for a file that is no font."""
    for file in fonts:
        if not file.is_file():
            raise InputError(f"{file}: no such file. Give a font file, .ttf, .otf or .ttc.")
        try:
            font(file, PROBE_SIZE)
        except OSError as error:
            raise InputError(f"{file} is no font that can be read: {error}. Give a .ttf, .otf or .ttc file.") from error
    return Typefaces(tuple(fonts), fonts[0]) if fonts else SHIPPED


@cache
def font(file: Path, size: int) -> ImageFont.FreeTypeFont:
    """A typeface at a size in pixels, laid out by Pillow itself, which does the same with every build."""
    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)


@cache
def width(file: Path, size: int, text: str) -> float:
    """How wide a text is, in pixels."""
    return font(file, size).getlength(text)


def _named(character: str) -> str:
    name = unicodedata.name(character, "")
    return f"U+{ord(character):04X}" + (f" ({name})" if name else "")


def _cannot_draw(character: str) -> str | None:
    """What keeps a character from being drawn one beside the other, whatever the typeface."""
    if unicodedata.category(character).startswith("C"):
        return "is a control character. Remove it."
    if unicodedata.bidirectional(character) in _RIGHT_TO_LEFT:
        return "is written from right to left, which cannot be drawn."
    if unicodedata.category(character).startswith("M"):
        return "is put on or around other letters, which cannot be drawn."
    return None


@cache
def _has(file: Path, character: str) -> bool:
    """Whether a typeface draws something for a character, and not what it draws for every one that it lacks."""
    drawn, missing = (font(file, PROBE_SIZE).getmask(c) for c in (character, _NO_CHARACTER))
    return drawn.getbbox() is not None and (drawn.size, bytes(drawn)) != (missing.size, bytes(missing))
