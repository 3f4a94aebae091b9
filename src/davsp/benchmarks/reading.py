"""Reading the published files of a benchmark."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

from davsp.data.records import read_records
from davsp.errors import InputError

IMAGE_SUFFIXES = (".jpg", ".png", ".jpeg", ".webp", ".JPG", ".PNG", ".JPEG")


def locate(folder: Path, *names: str) -> Path:
    """The first of some paths in a folder that is there. Raises InputError, naming what was looked for."""
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise InputError(f"{folder} holds none of {', '.join(names)}. Is it the right folder, and downloaded as a whole?")


def image_named(folder: Path, stem: str) -> Path:
    """The image file of that name with any usual suffix; where there is none, the path of the first."""
    paths = [folder / f"{stem}{suffix}" for suffix in IMAGE_SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])


def records(path: Path, *needed: str) -> Iterator[dict[str, Any]]:
    """The records of a file. Raises InputError for one that is damaged or lacks a column that is `needed`."""
    for where, record in read_records(path):
        if isinstance(record, str):
            raise InputError(f"{path}, {where}: {record}. Get a fresh copy of it.")
        if lacking := [name for name in needed if name not in record]:
            raise InputError(f"{path}, {where}: no {', '.join(lacking)} among {', '.join(record)}.")
        yield record


def parquet_files(folder: Path, pattern: str) -> list[Path]:
    """The Parquet files of a data set of the hub, in order; none where it is laid out in another way."""
    return sorted(folder.glob(pattern))


def parquet_records(files: Sequence[Path], *needed: str) -> Iterator[dict[str, Any]]:
    """The records of Parquet files, their images as bytes. Images with the same bytes are held once."""
    images: dict[Hashable, bytes] = {}
    for path in files:
        for record in records(path, *needed):
            yield {name: _bytes_of(value, images) for name, value in record.items()}


def _bytes_of(value: Any, images: dict[Hashable, bytes]) -> Any:
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        return images.setdefault(value["bytes"], value["bytes"])
    return value


def fixed_choice(names: Sequence[str], count: int) -> set[str]:
    """A random choice of so many names that is always the same."""
    return set(random.Random(0).sample(sorted(names), count))  # noqa: S311 - a choice of samples, no secret
