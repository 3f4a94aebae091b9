"""Records of files: JSON Lines, JSON, CSV and Parquet, each with the place where it stands."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from davsp.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

Located = tuple[str, dict[str, Any] | str]
"""Where a record stands, and its columns; or instead of them, what is wrong with it."""


def read_records(path: Path) -> Iterator[Located]:
    """The records of a .jsonl, .json, .csv or .parquet file, in its order, with the columns as they are.

    Raises InputError when the file as a whole cannot be read.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. Check the path.")
    match path.suffix.lower():
        case ".jsonl":
            return _jsonl_records(read_text(path))
        case ".json":
            return _json_records(path, read_text(path))
        case ".csv":
            return _csv_records(path, read_text(path))
        case ".parquet":
            return _parquet_records(path)
        case _:
            raise InputError(f"{path}: unknown kind of file. Give a .jsonl, .json, .csv or .parquet file.")


def read_text(path: Path) -> str:
    """The content of a UTF-8 file. Raises InputError when it is something else, or cannot be read."""
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (at byte {error.start}). Save it as UTF-8.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error


def parse_unique_json(text: str) -> Any:
    """NaN and the infinities, which JSON does not know, are null: there is no such value.

    Raises ValueError; for a key that occurs twice too, where plain JSON would drop the first value.
    """

    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} occurs twice")
        return found

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=lambda _: None)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _record(value: Any) -> dict[str, Any] | str:
    return value if isinstance(value, dict) else f"not a JSON object but {type(value).__name__}"


def _jsonl_records(text: str) -> Iterator[Located]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"line {number}", _record(parse_unique_json(line))
            except ValueError as error:
                yield f"line {number}", f"not valid JSON: {error}"


def _json_records(path: Path, text: str) -> Iterator[Located]:
    try:
        content = parse_unique_json(text)
    except ValueError as error:
        rows = _jsonl_records(text)
        first = next(rows, ("", ""))
        if isinstance(first[1], dict):  # JSON Lines under the name .json
            return chain([first], rows)
        if not text.strip():
            return iter(())
        raise InputError(f"{path} is not valid JSON: {error}. Correct it there.") from error
    if isinstance(content, list):
        return ((f"record {i}", _record(value)) for i, value in enumerate(content, start=1))
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no records. Give a list of JSON objects.")
    if content and not all(isinstance(value, dict) for value in content.values()):
        return iter([("record 1", content)])
    return ((f"record {key!r}", {"id": key} | value) for key, value in content.items())


def _csv_records(path: Path, text: str) -> Iterator[Located]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = list(reader.fieldnames or ())
        if repeated := [name for name in header if header.count(name) > 1]:
            raise InputError(f"{path} has two columns named {repeated[0]!r}. Rename one of them.")
        for row in reader:
            extra = row.pop(None, None)
            fewer = None in row.values()
            wrong = "more cells than the header" if extra else "fewer cells than the header" if fewer else None
            yield f"line {reader.line_num}", wrong or row
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.reader.line_num}: not valid CSV: {error}. Give images as paths."
        ) from error


def _parquet_records(path: Path) -> Iterator[Located]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as parquet:
            first = 1
            for batch in parquet.iter_batches(batch_size=256):
                for number, record in enumerate(_batch_records(batch), start=first):
                    yield f"row {number}", record
                first += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file ({error}). Write it again.") from error


def _batch_records(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | str]:
    """The rows of a batch; of one that holds text which is no UTF-8, the column is named instead."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for number in range(batch.num_rows):
            yield _one_record(batch, number)


def _one_record(batch: pa.RecordBatch, number: int) -> dict[str, Any] | str:
    record = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            record[name] = column[number].as_py()
        except UnicodeDecodeError:
            return f"the text in column {name!r} is no UTF-8"
    return record
