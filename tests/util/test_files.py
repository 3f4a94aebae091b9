"""Files are written whole or not at all, and what a killed process left is taken over."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from davsp.errors import StorageError
from davsp.util.files import append_line, kept_lines, load_tensors, new_folder, replacing, save_tensors, write_text

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


def test_records_are_kept_up_to_the_one_that_was_not_written_whole(tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    for said in ("a\u2028b\x85", "é", "é"):
        append_line(file, json.dumps({"id": said}, ensure_ascii=False))
    whole = file.read_bytes()
    file.write_bytes(whole + '{"id": "ü'.encode()[:-1])
    assert list(kept_lines(file, "id")) == ["a\u2028b\x85", "é"]
    assert file.read_bytes() == whole


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


FULL = """
import pathlib, resource, sys, torch
from davsp.util.files import new_folder, replacing
from safetensors.torch import save_file
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
path = pathlib.Path(sys.argv[2])
with globals()[sys.argv[1]](path) as partial:
    save_file({"weights": torch.zeros(4096)}, partial / "weights" if partial.is_dir() else partial)
"""


@pytest.mark.parametrize("writer", ["replacing", "new_folder"])
def test_tensors_that_do_not_fit_on_the_disk_are_an_error_of_storage(writer: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, writer, str(tmp_path / "weights")], check=False, capture_output=True, text=True
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"davsp.errors.StorageError: cannot write {tmp_path / 'weights'}: ")
    assert {path.suffix for path in tmp_path.iterdir()} <= {".lock"}


def test_a_new_folder_is_there_when_it_is_full_and_is_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "below" / "model"
    with new_folder(folder) as partial:
        assert partial
        (partial / "weights").write_text("whole")
        assert not folder.exists()
    assert (folder / "weights").read_text() == "whole"
    with new_folder(folder) as again:
        assert again is None


def test_a_new_folder_that_was_not_finished_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with pytest.raises(KeyError), new_folder(folder) as partial:
        assert partial
        (partial / "weights").write_text("half of")
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == [".model.lock"]
    left = tmp_path / ".model.partial"
    left.mkdir()
    (left / "weights").write_text("of a killed process")
    with new_folder(folder) as partial:
        assert partial == left and not [*left.iterdir()]
    assert folder.is_dir() and not left.exists()


WAITING = """
import pathlib, sys
from davsp.util.files import new_folder
print("ready", flush=True)
with new_folder(pathlib.Path(sys.argv[1])) as partial:
    print(partial)
"""


def test_a_second_process_waits_for_the_folder_that_another_fills(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with new_folder(folder):
        command = [sys.executable, "-c", WAITING, str(folder)]
        second = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert second.stdout and second.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(0.3)
    assert second.communicate()[0] == "None\n"


def test_a_full_disk_at_tensors_is_said_in_a_line_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "state.pt"
    save_tensors(file, {"step": 1, "pixels": torch.zeros(3)})

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="No space left on device"):
        save_tensors(file, {"step": 2, "pixels": torch.zeros(3)})
    assert load_tensors(file)["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
