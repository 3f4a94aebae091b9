"""Files are written whole or not at all, and what a killed process left is taken over."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from davsp.errors import StorageError
from davsp.util.files import replacing, write_text

KILLED = """
import os, pathlib, sys
from davsp.util.files import replacing
with replacing(pathlib.Path(sys.argv[1])) as partial:
    partial.write_text("half of")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_is_gone_when_the_file_is_written_again(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    write_text(file, "before")
    for _ in range(3):
        assert subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False).returncode == -9
    assert file.read_text() == "before"
    write_text(file, "after")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert file.read_text() == "after"


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    with replacing(file) as first:
        first.write_text("first")
        with replacing(file) as second:
            second.write_text("second")
            assert first.read_text() == "first"
        assert file.read_text() == "second"
    assert file.read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_what_cannot_be_written_leaves_the_file_and_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    write_text(file, "before")
    with pytest.raises(StorageError, match="Nothing was changed there"), replacing(file):
        raise OSError(28, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert file.read_text() == "before"
    with pytest.raises(StorageError, match="cannot write"):
        write_text(file / "below", "a file is no folder")
