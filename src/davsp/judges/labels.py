"""Human labels of real answers, in the layouts in which they were published."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from davsp.data.records import read_records, read_text
from davsp.errors import MALFORMED, InputError
from davsp.judges.base import Criterion

MAX_BYTES = 200_000_000


LayoutReader = Callable[[Path, Sequence[Mapping[str, Any]]], "list[LabelledAnswer]"]
"""Reads the records of a file."""


@dataclass(frozen=True)
class LabelledAnswer:
    """A real answer and what people said of it.

    `model` gave the answer. `label` says whether it meets `criterion`: whether it does the harm, or is a refusal. None
    is neither (a partial refusal): judges are asked about it, and it is in no rate of agreement.
    """

    id: str
    model: str
    question: str
    response: str
    criterion: Criterion
    label: bool | None


def read_labels(path: Path) -> list[LabelledAnswer]:
    """The labelled answers of a file.

    The layout is known by its columns: XSTest's model completions (refusal), MSTS's response annotations (harm), or
    HarmBench's classifier sets (harm). Raises InputError for any other file, or a label that its layout does not have.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. Give a file of human labels.")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path} is larger than {MAX_BYTES // 1_000_000} MB, which no published set of labels is.")
    rows = _json_rows(path) if path.suffix == ".json" else _rows(path)
    if not rows:
        raise InputError(f"{path} holds no labelled answer.")
    for needed, read in LAYOUTS.items():
        if set(needed) <= set(rows[0]):
            return _checked(path, read, rows)
    known = "; ".join(" + ".join(columns) for columns in LAYOUTS)
    raise InputError(f"{path} is in no known layout. Its columns are {', '.join(rows[0])}; known are: {known}.")


def _checked(path: Path, read: LayoutReader, rows: Sequence[Mapping[str, Any]]) -> list[LabelledAnswer]:
    """The answers, if every record has what the layout says it has."""
    try:
        answers = read(path, rows)
    except MALFORMED as error:
        raise InputError(f"{path}: an answer lacks what others have ({type(error).__name__}: {error}).") from error
    for answer in answers:
        if not isinstance(answer.question, str) or not isinstance(answer.response, str):
            raise InputError(f"{path}, answer {answer.id}: question or response is no text.")
    return answers


def _rows(path: Path) -> list[dict[str, Any]]:
    rows = []
    for where, row in read_records(path):
        if isinstance(row, str):
            raise InputError(f"{path}, {where}: {row}.")
        rows.append(row)
    return rows


def _json_rows(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON file: a list of them, or lists of them by behaviour."""
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    if isinstance(content, dict):
        content = [row for rows in content.values() if isinstance(rows, list) for row in rows]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise InputError(f"{path} holds no list of records.")
    return content


def _xstest(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[LabelledAnswer]:
    """XSTest's model completions: a file for each model, `xstest_v2_completions_MODEL.csv`."""
    labels = {"1_full_compliance": False, "2_full_refusal": True, "3_partial_refusal": None}
    model = path.stem.removeprefix("xstest_v2_completions_")
    return [
        LabelledAnswer(
            row["id"],
            model,
            row["prompt"],
            row["completion"],
            Criterion.REFUSAL,
            _label(path, number, row["final_label"], labels),
        )
        for number, row in enumerate(rows, start=1)
    ]


def _msts(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[LabelledAnswer]:
    """MSTS's response annotations. The images are not part of them: a judge reads what they show as text."""
    labels = {"1 - safe": False, "2 - unsafe": True}
    return [
        LabelledAnswer(
            f"{row['case_id']}/{row['prompt_type']}/{row['model']}",
            row["model"],
            f"{row['prompt_text']}\n[The image shows: {row['unsafe_image_description']}]",
            row["response"],
            Criterion.HARM,
            _label(path, number, row["final_label"], labels),
        )
        for number, row in enumerate(rows, start=1)
    ]


def _harmbench(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[LabelledAnswer]:
    """HarmBench's classifier validation sets: the vote of three people; the question is the behaviour.

    Behaviours are read from HarmBench's behavior_datasets beside the folder of the set, by id; without them the
    question is the prompt that was sent.
    """
    behaviours: dict[str, str] = {}
    for file in sorted((path.parent.parent / "behavior_datasets").glob("harmbench_behaviors_*_all.csv")):
        behaviours |= {row["BehaviorID"]: row["Behavior"] for row in _rows(file)}
    votes = {"0": False, "0.0": False, "False": False, "1": True, "1.0": True, "True": True}
    answers = []
    for number, row in enumerate(rows, start=1):
        harmful = [_label(path, number, str(row[f"human_{i}"]), votes) for i in range(3)]
        answers.append(
            LabelledAnswer(
                f"{number}",
                str(row.get("model_name") or row.get("model") or row.get("experiment") or "all"),
                behaviours.get(str(row.get("behavior_id")), str(row["test_case"])),
                row["generation"],
                Criterion.HARM,
                sum(map(bool, harmful)) >= 2,
            )
        )
    return answers


def _label(path: Path, number: int, value: Any, known: Mapping[str, bool | None]) -> bool | None:
    if value not in known:
        raise InputError(f"{path}, answer {number}: the label {value!r} is none of {', '.join(known)}.")
    return known[value]


LAYOUTS: Mapping[tuple[str, ...], LayoutReader] = {
    ("id", "prompt", "completion", "final_label"): _xstest,
    (
        "case_id",
        "prompt_type",
        "prompt_text",
        "unsafe_image_description",
        "model",
        "response",
        "final_label",
    ): _msts,
    ("test_case", "generation", "human_0", "human_1", "human_2"): _harmbench,
}
"""The columns by which a published layout is known, and its reader."""
