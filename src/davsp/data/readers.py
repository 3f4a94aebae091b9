"""Queries read from records: which columns they are made of, and what makes a record unusable."""

from __future__ import annotations

import base64
import binascii
import math
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from davsp.data.chat_forms import RawImage, RawTurn, read_turns
from davsp.data.conversation import ImageContent, Message, Role
from davsp.data.query import Query, check_question, check_unicode
from davsp.data.records import Located, read_records
from davsp.data.references import joined
from davsp.errors import BadRecords, InputError

COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "id": ("id", "question_id", "pid"),
        "image": ("image", "image_path", "imagename", "file_name"),
        "question": ("question", "Question", "instruction", "prompt", "prompt_text", "text"),
        "answer": ("answer", "reference", "response", "answers"),
        "malicious": ("malicious",),
        "group": ("group", "category", "category_name"),
        "scoring": ("scoring",),
    }
)
"""The columns a field of a query is read from; the first one with a value counts."""


_MALICIOUS_WORDS = {"1": True, "1.0": True, "true": True, "malicious": True} | {
    "0": False,
    "0.0": False,
    "false": False,
    "benign": False,
}
# How the base64 text of PNG, JPEG, GIF, WEBP, BMP and TIFF files begins.
_BASE64_STARTS = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR", "Qk", "SUkq", "TU0A")


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
    """Read queries from a .jsonl, .json, .csv or .parquet file, as `queries_from` reads its records.

    A .json file holds a list of records, a dict of records by id, or JSON Lines. Images given as paths are relative to
    `image_folder` (default: the file's own folder). Raises InputError when the file cannot be read at all, and what
    `queries_from` raises.
    """
    return queries_from(
        read_records(path),
        str(path),
        skip_bad=skip_bad,
        malicious=malicious,
        image_folder=image_folder or path.parent,
        columns=columns,
    )


def read_conversations(path: Path) -> tuple[Query, ...]:
    """The conversations of a file: of records in any form that `read_queries` reads, which need not say whether they
    are malicious, or one of messages alone, in a list or one a line. Raises InputError as `queries_from`."""
    records = list(read_records(path))
    if records and all(isinstance(record, dict) and record.keys() & {"role", "from"} for _, record in records):
        records = [("its messages", {"messages": [record for _, record in records]})]
    return queries_from(records, str(path), malicious=False, image_folder=path.parent).queries


def queries_from(
    records: Iterable[Located],
    source: str,
    *,
    skip_bad: bool = False,
    malicious: bool | None = None,
    image_folder: Path,
    columns: Mapping[str, str] = MappingProxyType({}),
) -> QueryFile:
    """The queries of records, which come from `source`.

    The fields of a query are read from COLUMNS; `columns` names another column for a field: {"question": "Rephrased
    Question"}. Conversations and lists of images are read as `davsp.data.chat_forms` says. A list of answers is one
    reference, whose texts <OR> separates. Other columns of texts, numbers and truth values become metadata. An image is
    a path, relative to `image_folder`, base64, a data URI, bytes or {"bytes", "path"}; paths are checked for existence,
    and images are not opened. `malicious` is used for records that do not say; a record without an id is named by its
    number, from 1.

    Raises BadRecords when records are not usable, unless `skip_bad` leaves them out, and InputError when there is no
    usable record.
    """
    if unknown := set(columns) - set(COLUMNS):
        raise InputError(f"a query has no field {min(unknown)!r}. Choose from {', '.join(COLUMNS)}.")
    queries, problems, places = [], [], dict[str, str]()
    reader = _Reader(image_folder, malicious, columns)
    for number, (where, record) in enumerate(records, start=1):
        try:
            query = reader.query(f"{source}, {where}", str(number), record)
            if query.id in places:
                raise InputError(f"{source}, {where}: the id {query.id!r} was already used in {places[query.id]}")
        except InputError as error:
            problems.append(str(error))
            continue
        places[query.id] = where
        queries.append(query)
    if not queries and not problems:
        raise InputError(f"{source} holds no records. Give a file with at least one.")
    if not queries:
        raise BadRecords(problems, f"No record of {source} is usable. Correct them and try again.")
    if problems and not skip_bad:
        raise BadRecords(problems, "Correct these records, or choose to skip bad ones.")
    return QueryFile(tuple(queries), tuple(problems))


@dataclass(frozen=True)
class _Reader:
    """Turns records into queries."""

    image_folder: Path
    malicious: bool | None
    columns: Mapping[str, str]

    def query(self, where: str, number: str, record: dict[str, Any] | str) -> Query:
        """Raises InputError, naming `where`, for a record that is not usable."""
        if isinstance(record, str):
            raise InputError(f"{where}: {record}")
        try:
            record, turns = read_turns(record)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        identifier, answer = self._value(record, "id"), self._value(record, "answer")
        group, scoring = self._value(record, "group"), self._value(record, "scoring")
        messages = [self._message(where, turn) for turn in turns]
        question = None if messages else self._question(where, record)
        if isinstance(answer, list | tuple):
            if not answer or not all(isinstance(text, str | int | float) for text in answer):
                raise InputError(f"{where}: the answers are no list of texts")
            answer = joined(dict.fromkeys(answer))
        for name, text in {"id": identifier, "answer": answer, "group": group}.items():
            check_unicode(str(text), f"{where}: the {name}")
        used = {name for f in COLUMNS for name in self._names(f)}
        return Query(
            id=number if identifier is None else str(identifier),
            image=None if messages else self._images(where, record),
            question=question,
            messages=messages,
            answer=None if answer is None else str(answer),
            scoring="" if scoring is None else str(scoring),
            malicious=self._malicious(where, self._value(record, "malicious")),
            group="" if group is None else str(group),
            metadata={k: str(v) for k, v in record.items() if k not in used and isinstance(v, str | int | float)},
        )

    def _names(self, name: str) -> tuple[str, ...]:
        return (self.columns[name],) if name in self.columns else COLUMNS[name]

    def _value(self, record: Mapping[str, Any], name: str) -> Any:
        """The field's value, or None where it is absent, null or blank."""
        values = (record.get(column) for column in self._names(name))
        return next((value for value in values if not _is_missing(value)), None)

    def _malicious(self, where: str, value: object) -> bool:
        if value is None:
            if self.malicious is None:
                raise InputError(f"{where}: no column 'malicious' (true or false), and no default for the file")
            return self.malicious
        word = str(value).strip().lower()
        if word not in _MALICIOUS_WORDS:
            raise InputError(f"{where}: malicious is {value!r}, none of {', '.join(_MALICIOUS_WORDS)}")
        return _MALICIOUS_WORDS[word]

    def _question(self, where: str, record: Mapping[str, Any]) -> str:
        question = self._value(record, "question")
        if question is None:
            raise InputError(f"{where}: no question among the columns {', '.join(record)}")
        if not isinstance(question, str):
            raise InputError(f"{where}: the question is no text but {type(question).__name__}")
        check_question(question, where)
        return question

    def _message(self, where: str, turn: RawTurn) -> Message:
        check_unicode(turn.text, f"{where}: a turn of the {turn.role}")
        parts = [self._image(where, part.value) if isinstance(part, RawImage) else part for part in turn.parts]
        if turn.role is Role.USER and not any(not isinstance(part, str) or part.strip() for part in parts):
            raise InputError(f"{where}: a turn of the user is empty")
        return Message(turn.role, parts)

    def _images(self, where: str, record: Mapping[str, Any]) -> list[ImageContent]:
        value = self._value(record, "image")
        if value is None:
            raise InputError(
                f"{where}: no image among the columns {', '.join(record)}; a question without one has an empty list, "
                "`images`"
            )
        return [self._image(where, each) for each in (value if isinstance(value, list) else [value])]

    def _image(self, where: str, value: Any) -> Path | bytes:
        if isinstance(value, dict):
            value = value.get("path") if value.get("bytes") is None else value["bytes"]
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str):
            raise InputError(f"{where}: the image is neither a path nor bytes but {type(value).__name__}")
        content = value.partition(";base64,")[2] if value.startswith("data:") else value
        if content.startswith(_BASE64_STARTS):
            try:
                return base64.b64decode("".join(content.split()), validate=True)
            except binascii.Error:
                pass  # a path that happens to begin like base64
        # Names with accents are spelled in two ways, and copying between systems changes one into the other.
        for spelling in (value, unicodedata.normalize("NFC", value), unicodedata.normalize("NFD", value)):
            path = self.image_folder / spelling
            try:
                if path.is_file():
                    return path
            except (OSError, ValueError):  # such as a name that is too long, or holds a zero byte
                break
        raise InputError(f"{where}: image {value[:100]!r} is neither a file in {self.image_folder} nor base64")


def _is_missing(value: Any) -> bool:
    """Null, blank, or not a number."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())
