"""Queries: what a user sends to a vision-language model, and how they are read from files."""

from __future__ import annotations

import base64
import binascii
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

from davsp.data.query import Query, check_question, check_unicode
from davsp.errors import BadRecords, InputError

COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "id": ("id", "question_id", "pid"),
        "image": ("image", "image_path", "imagename"),
        "question": ("question", "Question", "instruction", "prompt", "prompt_text", "text"),
        "answer": ("answer", "reference", "response"),
        "malicious": ("malicious",),
        "group": ("group", "category", "category_name"),
    }
)
"""The columns a field of a query is read from; the first one with a value counts."""


_MALICIOUS_WORDS = {"1": True, "true": True, "malicious": True, "0": False, "false": False, "benign": False}
# How the base64 text of PNG, JPEG, GIF, WEBP, BMP and TIFF files begins.
_BASE64_STARTS = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR", "Qk", "SUkq", "TU0A")

RecordOrProblem = tuple[str, dict[str, Any] | str]
"""Where a record stands, and its columns; or instead of them, what is wrong with it."""


@dataclass(frozen=True)
class QueryFile:
    """The usable queries of a file, in its order, and one line for each record that was left out."""

    queries: tuple[Query, ...]
    skipped: tuple[str, ...] = ()


def read_queries(
    path: Path,
    *,
    skip_bad: bool = False,
    malicious: bool | None = None,
    image_folder: Path | None = None,
    columns: Mapping[str, str] = MappingProxyType({}),
) -> QueryFile:
    """Read queries from a .jsonl, .json, .csv or .parquet file.

    A .json file holds a list of records, a dict of records by id, or JSON Lines. The fields of a query are
    read from COLUMNS; `columns` names another column for a field: {"question": "Rephrased Question"}. Other
    columns of texts, numbers and truth values become metadata. An image is a path, relative to `image_folder`
    (default: the file's own folder), base64, a data URI, or in Parquet bytes or {"bytes", "path"}; paths are
    checked for existence, and images are not opened. `malicious` is used for records that do not say; a
    record without an id is named by its number, from 1.

    Raises BadRecords when records are not usable, unless `skip_bad` leaves them out, and InputError when the
    file cannot be read at all or holds no usable record.
    """
    if unknown := set(columns) - set(COLUMNS):
        raise InputError(f"a query has no field {min(unknown)!r}. Choose from {', '.join(COLUMNS)}.")
    queries, problems, places = [], [], dict[str, str]()
    read = _Reader(path, image_folder or path.parent, malicious, columns)
    for number, (where, record) in enumerate(read_rows(path), start=1):
        try:
            query = read.query(f"{path}, {where}", str(number), record)
            if query.id in places:
                raise InputError(f"{path}, {where}: the id {query.id!r} was already used in {places[query.id]}")
        except InputError as error:
            problems.append(str(error))
            continue
        places[query.id] = where
        queries.append(query)
    if not queries and not problems:
        raise InputError(f"{path} holds no records. Give a file with at least one.")
    if not queries:
        raise BadRecords(problems, f"No record of {path} is usable. Correct them and try again.")
    if problems and not skip_bad:
        raise BadRecords(problems, "Correct these records, or choose to skip bad ones.")
    return QueryFile(tuple(queries), tuple(problems))


@dataclass(frozen=True)
class _Reader:
    """Turns the records of one file into queries."""

    path: Path
    image_folder: Path
    malicious: bool | None
    columns: Mapping[str, str]

    def query(self, where: str, number: str, record: dict[str, Any] | str) -> Query:
        """Raises InputError, naming `where`, for a record that is not usable."""
        if isinstance(record, str):
            raise InputError(f"{where}: {record}")
        identifier, answer = self._value(record, "id"), self._value(record, "answer")
        question, group = self._value(record, "question"), self._value(record, "group")
        if question is None:
            raise InputError(f"{where}: no question among the columns {', '.join(record)}")
        if not isinstance(question, str):
            raise InputError(f"{where}: the question is no text but {type(question).__name__}")
        check_question(question, where)
        for name, text in {"id": identifier, "answer": answer, "group": group}.items():
            check_unicode(str(text), f"{where}: the {name}")
        used = {name for f in COLUMNS for name in self._names(f)}
        return Query(
            id=number if identifier is None else str(identifier),
            image=self._image(where, record),
            question=question,
            answer=None if answer is None else str(answer),
            malicious=self._malicious(where, self._value(record, "malicious")),
            group="" if group is None else str(group),
            metadata={k: str(v) for k, v in record.items() if k not in used and isinstance(v, str | int | float)},
        )

    def _names(self, name: str) -> tuple[str, ...]:
        return (self.columns[name],) if name in self.columns else COLUMNS[name]

    def _value(self, record: Mapping[str, Any], name: str) -> Any:
        """The field's value, or None where it is absent, null or blank."""
        values = (record.get(column) for column in self._names(name))
        return next((v for v in values if v is not None and (not isinstance(v, str) or v.strip())), None)

    def _malicious(self, where: str, value: object) -> bool:
        if value is None:
            if self.malicious is None:
                raise InputError(f"{where}: no column 'malicious' (true or false), and no default for the file")
            return self.malicious
        word = str(value).strip().lower()
        if word not in _MALICIOUS_WORDS:
            raise InputError(f"{where}: malicious is {value!r}, none of {', '.join(_MALICIOUS_WORDS)}")
        return _MALICIOUS_WORDS[word]

    def _image(self, where: str, record: Mapping[str, Any]) -> Path | bytes:
        value = self._value(record, "image")
        if isinstance(value, dict):
            value = value.get("path") if value.get("bytes") is None else value["bytes"]
        if isinstance(value, bytes):
            return value
        if value is None:
            raise InputError(f"{where}: no image among the columns {', '.join(record)}")
        if not isinstance(value, str):
            raise InputError(f"{where}: the image is neither a path nor bytes but {type(value).__name__}")
        content = value.partition(";base64,")[2] if value.startswith("data:") else value
        if content.startswith(_BASE64_STARTS):
            try:
                return base64.b64decode("".join(content.split()), validate=True)
            except binascii.Error:
                pass  # a path that happens to begin like base64
        found = self.image_folder / value
        try:
            exists = found.is_file()
        except OSError:  # such as a name that is too long
            exists = False
        if not exists:
            raise InputError(f"{where}: image {value[:100]!r} is neither a file in {self.image_folder} nor base64")
        return found


def read_rows(path: Path) -> Iterator[RecordOrProblem]:
    """The records of a .jsonl, .json, .csv or .parquet file, in its order, with the columns as they are.

    Raises InputError when the file as a whole cannot be read.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. Check the path.")
    match path.suffix.lower():
        case ".jsonl":
            return _jsonl_rows(read_text(path))
        case ".json":
            return _json_rows(path, read_text(path))
        case ".csv":
            return _csv_rows(path, read_text(path))
        case ".parquet":
            return _parquet_rows(path)
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


def _parse_json(text: str) -> Any:
    """Raises ValueError; for a key that occurs twice too, where plain JSON would drop the first value."""

    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} occurs twice")
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _record(value: Any) -> dict[str, Any] | str:
    return value if isinstance(value, dict) else f"not a JSON object but {type(value).__name__}"


def _jsonl_rows(text: str) -> Iterator[RecordOrProblem]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"line {number}", _record(_parse_json(line))
            except ValueError as error:
                yield f"line {number}", f"not valid JSON: {error}"


def _json_rows(path: Path, text: str) -> Iterator[RecordOrProblem]:
    try:
        content = _parse_json(text)
    except ValueError as error:
        rows = _jsonl_rows(text)
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


def _csv_rows(path: Path, text: str) -> Iterator[RecordOrProblem]:
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


def _parquet_rows(path: Path) -> Iterator[RecordOrProblem]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as parquet:
            batches = parquet.iter_batches(batch_size=256)
            rows = (row for batch in batches for row in batch.to_pylist())
            for number, row in enumerate(rows, start=1):
                yield f"row {number}", row
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file ({error}). Write it again.") from error
