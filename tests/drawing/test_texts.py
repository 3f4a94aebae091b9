"""Requests are read from the forms in which people have them, and what cannot be used is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from davsp.drawing.texts import clean, read_requests, text_id
from davsp.errors import BadRecords, InputError


def anything(text: str) -> None:
    """A check that all texts pass."""


def no_z(text: str) -> None:
    if "z" in text:
        raise InputError("there is a z")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "\ufeffBake a cake\n\n  Draw  a\tbomb cake. \r\n"),
        ("a.list", "Bake a cake\nDraw a bomb cake"),
        ("a.json", json.dumps(["Bake a cake", "Draw a bomb cake"])),
        ("a.json", json.dumps([{"instruction": "Bake a cake"}, {"text": "Draw a bomb cake", "category": 3}])),
        ("a.jsonl", '{"question": "Bake a cake"}\n{"prompt": "Draw a bomb cake."}\n'),
        ("a.csv", "id,Goal,target\n1,Bake a cake,Sure\n2,Draw a bomb cake,Sure\n"),
        ("a.csv", "id,Behavior\n1,Bake a cake\n2,Draw a bomb cake\n"),
    ],
)
def test_requests_are_read_from_many_forms(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    assert read_requests(tmp_path / name, anything).texts == ("Bake a cake", "Draw a bomb cake")


def test_a_column_may_be_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,wish\nno,Bake a cake\n")
    assert read_requests(path, anything, column="wish").texts == ("Bake a cake",)
    with pytest.raises(BadRecords, match="line 2: no column 'wishes' among text, wish"):
        read_requests(path, anything, column="wishes")


def test_answers_come_along(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"instruction": "Bake.", "response": "With flour."}\n{"instruction": "Draw"}\n')
    assert read_requests(path, anything).answers == {"Bake": "With flour."}


def test_the_same_text_counts_once_and_that_is_told() -> None:
    read = read_requests(["Bake a cake", "bake a cake!", "Draw a cake"], anything)
    assert read.texts == ("Bake a cake", "Draw a cake")
    assert read.left_out == {"the same as an earlier one": 1}


def test_each_bad_text_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n{"text": " "}\n{"text": "zoo"}\n{"text": 3}\n{"other": "x"}\n["x"]\n')
    with pytest.raises(BadRecords) as wrong:
        read_requests(path, no_z)
    assert [problem.removeprefix(f"{path}, ")[:28] for problem in wrong.value.problems] == [
        "line 2: there is no text",
        "line 3: there is a z",
        "line 4: the request is no te",
        "line 5: none of the columns ",
        "line 6: not a JSON object bu",
    ]
    read = read_requests(path, no_z, skip_bad=True)
    assert read.texts == ("fine",) and read.left_out == {"cannot be drawn": 5}


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_file_without_requests_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(content)
    with pytest.raises(InputError, match="holds no requests"):
        read_requests(path, anything)
    with pytest.raises(InputError, match="no such file"):
        read_requests(tmp_path / "b.txt", anything)


def test_texts_are_drawn_in_one_spelling() -> None:
    assert clean("  Cafe\u0301\n\nau  lait. ") == "Caf\u00e9 au lait"
    assert clean("And so on ...") == "And so on ..."
    assert text_id("Bake a cake") == text_id("bake a CAKE!") != text_id("bake two cakes")
