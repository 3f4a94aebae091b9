"""Files: written so that nothing is ever half-written, and JSON and YAML read so that a user sees what is wrong."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError

from davsp.errors import MALFORMED, ArtefactError, InputError, StorageError

MOST_BYTES = 64 * 2**20
"""No JSON file that is read as a whole is larger than this."""

_NOT_WRITTEN = (OSError, SafetensorError)
"""What is raised where a file cannot be written, SafetensorError by safetensors alone."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; rename it over `path` when the block succeeds.

    What a killed process left there is taken over by the next that writes `path`. Raises StorageError when the folder
    cannot be written to or the disk is full; `path` is then as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock, partial = _open_partial(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}. Choose another output folder.") from error
    try:
        yield partial
        partial.chmod(0o644)
        partial.replace(path)
    except _NOT_WRITTEN as error:
        raise StorageError(f"cannot write {path}: {_reason(error)}. Nothing was changed there.") from error
    finally:
        partial.unlink(missing_ok=True)
        os.close(lock)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _open_partial(path: Path) -> tuple[int, Path]:
    """A temporary file beside `path` that is this writer's alone while it is open: always the same, unless another
    process writes to that at this moment."""
    partial = path.with_name(f".{path.name}.partial")
    handle = os.open(partial, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        partial = Path(name)
    os.truncate(handle, 0)
    return handle, partial


@contextmanager
def new_folder(path: Path) -> Iterator[Path | None]:
    """Give an empty folder beside `path` to fill, which becomes `path` when the block succeeds; None where `path` is
    there already, it may be after a wait for another process that was filling it.

    What a killed process left is removed. Raises StorageError when nothing can be written there or the disk is full.
    """
    make_folder(path.parent)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with path.with_name(f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                yield None
                return
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                yield partial
                for file in partial.rglob("*"):
                    file.chmod(0o755 if file.is_dir() else 0o644)
                partial.rename(path)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except _NOT_WRITTEN as error:
        raise StorageError(f"cannot write {path}: {_reason(error)}. Nothing was left there.") from error


def check_same_run(
    folder: Path, what: str, saved: Mapping[str, Any], wanted: Mapping[str, Any], added: Collection[str] = ()
) -> None:
    """Raise ArtefactError, naming what differs, unless a folder's saved facts are those of this run.

    Facts that are `added` are not asked of folders that an earlier version wrote, which have none of them.
    """
    different = [
        name for name, value in wanted.items() if not (name in added and name not in saved) and saved.get(name) != value
    ]
    if different:
        raise ArtefactError(
            f"{folder} holds {what} (different: {', '.join(different)}): "
            "choose another output folder, or delete this one."
        )


def make_folder(path: Path) -> Path:
    """Create a folder for output if it is not there. Raises StorageError when that cannot be done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}. Choose another output folder.") from error
    return path


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file. Raises StorageError when the disk is full or the file cannot be written."""
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}. Mend that and run the command again.") from error


def kept_lines(path: Path, key: str) -> dict[str, Any]:
    """The records that `append_line` left in a JSON Lines file, if it is there, by their value of `key`; what follows
    one that was not written whole is dropped, from the file, too. Raises StorageError where that cannot be done."""
    records: dict[str, Any] = {}
    if not path.is_file():
        return records
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines):
        try:
            record = parse_json(line)
            records[str(record[key])] = record
        except MALFORMED:
            write_bytes(path, b"".join(whole + b"\n" for whole in lines[:number]))
            break
    return records


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or nothing."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a whole UTF-8 file or nothing. Half a surrogate pair, as a server may send it, becomes its escape."""
    write_bytes(path, content.encode(errors="backslashreplace"))


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON, keys in the order given, as a whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says. Raises ValueError for whatever is none, or is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_yaml(text: str) -> Any:
    """What a YAML text says. Raises ValueError, of one line, for whatever is none or cannot be held."""
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{error.problem}{where}") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except MALFORMED as error:  # a number of too many digits, a date that there is not
        raise ValueError(f"a value that cannot be read ({str(error).partition(':')[0]})") from error


def read_json(path: Path, absent: str) -> Any:
    """The content of a JSON file. Raises InputError when there is none, with `absent`, and when it cannot be read."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} is larger than {MOST_BYTES // 2**20} MiB. Is it the right file?")
        return parse_json(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{absent} ({path} is not there).") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}. Write it again.") from error


def read_json_lines(path: Path) -> Iterator[Any]:
    """The records of a JSON Lines file. Raises InputError with the line that cannot be read."""
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield parse_json(line)
                except ValueError as error:
                    reason = error.msg if isinstance(error, json.JSONDecodeError) else error
                    raise InputError(f"{path}, line {number}: no JSON ({reason}). Remove it.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}. Check the path.") from error


def save_tensors(path: Path, content: Any) -> None:
    """Write what `load_tensors` reads, whole or not at all. Raises StorageError where it cannot be written."""
    import torch

    stream = io.BytesIO()  # torch says nothing of use when a disk is full
    torch.save(content, stream)
    write_bytes(path, stream.getvalue())


def load_tensors(path: Path) -> Any:
    """What `save_tensors` or torch.save wrote, on the CPU. Nothing is run of a file that holds anything but tensors and
    plain values.

    Raises ValueError when it is damaged or holds more.
    """
    import torch

    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # its readers of zip files, of pickles and of older forms raise whatever they meet
        raise ValueError(f"not readable as tensors: {type(error).__name__}") from error


def sha256(path: Path) -> str:
    """The hex digest of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
