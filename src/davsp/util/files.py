"""Writing results so that nothing is ever half-written."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from davsp.errors import ArtefactError, StorageError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; rename it over `path` when the block succeeds.

    Raises StorageError when the folder cannot be written to or the disk is full; `path` is then as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}. Choose another output folder.") from error
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}. Nothing was changed there.") from error
    finally:
        partial.unlink(missing_ok=True)


def check_same_run(folder: Path, what: str, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise ArtefactError, naming what differs, unless a folder's saved facts are those of this run."""
    different = [name for name, value in wanted.items() if saved.get(name) != value]
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


def sha256(path: Path) -> str:
    """The hex digest of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
