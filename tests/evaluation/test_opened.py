"""Images of queries are opened once, as far as memory allows."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from PIL import Image

from davsp.data.query import Query
from davsp.errors import InputError
from davsp.evaluation.opened import OpenedQueries

SIZE = 8 * 6 * 3
"""Bytes of one opened image."""


def pictures(folder: Path, count: int) -> list[Query]:
    for number in range(count):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(folder / f"{number}.png")
    return [
        Query(f"q{n}", folder / f"{n}.png", "what ?", "red", True, "group", {"forbidden": "x"}) for n in range(count)
    ]


def first_pixels(opened: OpenedQueries, count: int) -> list[object]:
    async def all_of_them() -> list[object]:
        return [(await opened.get(f"q{n}")).image.getpixel((0, 0)) for n in range(count)]  # type: ignore[union-attr]

    return asyncio.run(all_of_them())


def test_images_are_kept_as_far_as_there_is_room_and_others_are_opened_again(tmp_path: Path) -> None:
    opened = OpenedQueries(pictures(tmp_path, 4), kept_bytes=2 * SIZE)
    expected = [(n, 0, 0) for n in range(4)]
    assert first_pixels(opened, 4) == expected
    for number in range(4):
        Image.new("RGB", (8, 6), "white").save(tmp_path / f"{number}.png")
    assert first_pixels(opened, 4) == [*expected[:2], (255, 255, 255), (255, 255, 255)]


def test_a_defence_is_handed_a_picture_of_its_own_and_no_label(tmp_path: Path) -> None:
    opened = OpenedQueries(pictures(tmp_path, 1))
    for _ in range(2):
        query = asyncio.run(opened.get("q0"))
        assert query == Query("q0", query.image, "what ?")
        assert isinstance(query.image, Image.Image) and query.image.getpixel((0, 0)) == (0, 0, 0)
        query.image.paste("white", (0, 0, 8, 6))


def test_bytes_and_pictures_are_taken_as_files_are() -> None:
    stream = io.BytesIO()
    Image.new("L", (8, 6), 7).save(stream, "PNG")
    opened = OpenedQueries([Query("q0", stream.getvalue(), "?"), Query("q1", Image.new("RGBA", (8, 6)), "?")])
    assert first_pixels(opened, 2) == [(7, 7, 7), (255, 255, 255)]
    with pytest.raises(InputError, match="the image of query q9 is not an image"):
        OpenedQueries([Query("q9", b"text", "?")])
