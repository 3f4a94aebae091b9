"""Requests as texts: read from files of many forms, cleaned, each of them once."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from davsp.data.readers import COLUMNS
from davsp.data.records import read_records, read_text
from davsp.errors import BadRecords, InputError
from davsp.util.files import parse_json

TEXT_COLUMNS = ("instruction", "request", "text", "question", "prompt", "goal", "behavior", "forbidden_prompt")
"""The columns a request is read from, in any case; the first that has a value counts. Published sets use them all."""
RECORDS = (".json", ".jsonl", ".csv", ".parquet")
"""Files of records; any other holds one request a line."""

RequestSource = Path | str | Sequence[str]
"""A file, or the requests themselves."""


@dataclass(frozen=True)
class Requests:
    """Distinct requests and what is known of them: `answers` by request, and what was left out, counted by reason."""

    name: str
    texts: tuple[str, ...]
    answers: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """A hex digest of the requests and their answers."""
        content = json.dumps([[text, self.answers.get(text)] for text in self.texts])
        return hashlib.sha256(content.encode()).hexdigest()


def text_id(text: str) -> str:
    """A name for a request: the same wherever it is drawn."""
    return hashlib.sha256(_key(text).encode()).hexdigest()[:12]


def clean(text: str) -> str:
    """The text as it is drawn: composed letters, single spaces, and no full stop at its end, which one set of requests
    has after each and another after none."""
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    return plain[:-1].rstrip() if plain.endswith(".") and not plain.endswith("..") else plain


def read_requests(
    source: RequestSource,
    check: Callable[[str], None],
    *,
    name: str = "",
    column: str | None = None,
    skip_bad: bool = False,
) -> Requests:
    """The requests of a file, or a list of them, in their order.

    A file of RECORDS holds objects, in `column` or the first of TEXT_COLUMNS that they have, or is a JSON list of
    texts; their answers, if any, are in the columns of a query's. `check` raises InputError for a text that cannot be
    used. What says the same as an earlier one but for case and punctuation is left out.

    Raises BadRecords for texts that are empty or cannot be used, unless `skip_bad` leaves them out, and InputError
    where there are none.
    """
    name = name or (str(source) if isinstance(source, str | Path) else "the requests")
    found = _of_file(Path(source), column) if isinstance(source, str | Path) else _of_list(source)
    texts: dict[str, str] = {}
    answers: dict[str, str] = {}
    left_out, problems = Counter[str](), list[str]()
    for where, text, answer in found:
        if isinstance(text, InputError):
            problems.append(f"{name}, {where}: {text}")
            continue
        cleaned = clean(text)
        try:
            if not _key(cleaned):
                raise InputError("there is no text")
            check(cleaned)
        except InputError as error:
            problems.append(f"{name}, {where}: {error}")
            continue
        if _key(cleaned) in texts:
            left_out["the same as an earlier one"] += 1
            continue
        texts[_key(cleaned)] = cleaned
        if answer:
            answers[cleaned] = answer
    if problems and not (skip_bad and texts):
        raise BadRecords(problems, "Correct these texts, or leave them out with --skip-bad.")
    if not texts:
        raise InputError(f"{name} holds no requests. Give one a line, or records with a column such as instruction.")
    if problems:
        left_out["cannot be drawn"] = len(problems)
    return Requests(name, tuple(texts.values()), answers, dict(left_out), tuple(problems))


_Found = Iterator[tuple[str, str | InputError, str]]
"""Where a text stands, the text or what is wrong there, and its answer or ""."""


def _key(text: str) -> str:
    """What two texts have in common that say the same but for case and punctuation; "" where nothing is said."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())


def _of_list(texts: Sequence[str]) -> _Found:
    for number, text in enumerate(texts, start=1):
        yield f"text {number}", text, ""


def _of_file(path: Path, column: str | None) -> _Found:
    if path.suffix.lower() not in RECORDS:
        if not path.is_file():
            raise InputError(f"{path}: no such file. Check the path.")
        for number, line in enumerate(read_text(path).split("\n"), start=1):
            if line.strip():
                yield f"line {number}", line, ""
        return
    if path.suffix.lower() == ".json" and (listed := _json_list(path)) is not None:
        for number, text in enumerate(listed, start=1):
            yield f"text {number}", text, ""
        return
    for where, record in read_records(path):
        if isinstance(record, str):
            yield where, InputError(record), ""
            continue
        try:
            yield where, _value(record, column), _answer(record)
        except InputError as error:
            yield where, error, ""


def _json_list(path: Path) -> list[str] | None:
    """The texts of a file that is a JSON list of nothing else; None for any other."""
    try:
        content = parse_json(read_text(path)) if path.is_file() else None
    except ValueError:
        return None
    return content if isinstance(content, list) and content and all(isinstance(t, str) for t in content) else None


def _value(record: Mapping[str, Any], column: str | None) -> str:
    by_name = {name.lower(): value for name, value in record.items()}
    if column is not None:
        if column not in record:
            raise InputError(f"no column {column!r} among {', '.join(record)}")
        value = record[column]
    else:
        value = next((by_name[name] for name in TEXT_COLUMNS if by_name.get(name)), None)
        if value is None:
            raise InputError(
                f"none of the columns {', '.join(TEXT_COLUMNS)} among {', '.join(record)}; --column names it"
            )
    if not isinstance(value, str):
        raise InputError(f"the request is no text but {type(value).__name__}")
    return value


def _answer(record: Mapping[str, Any]) -> str:
    found = (record.get(name) for name in COLUMNS["answer"])
    return next((text.strip() for text in found if isinstance(text, str) and text.strip()), "")
