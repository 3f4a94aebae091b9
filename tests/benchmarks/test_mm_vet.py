"""MM-Vet: grades, and how they add up, to the last printed digit of published tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from davsp.benchmarks import mm_vet
from davsp.errors import InputError


@pytest.mark.parametrize(
    ("reply", "grade"),
    [("0.7", 0.7), ("1.0", 1.0), ("1", 1.0), ("0.75", None), ("1.1", None), ("7", None), ("Grade: 0.7", None)],
)
def test_a_grade_is_one_of_eleven_numbers_and_nothing_else(reply: str, grade: float | None) -> None:
    assert mm_vet.parse_grade(reply) == (None if grade is None else (grade,))


def test_mm_vet_takes_the_mean_over_runs_for_each_capability_and_integration() -> None:
    needs = {"a": ["ocr", "math"], "b": ["ocr"], "c": ["rec"]}
    found = mm_vet.score({"a": [0.5, 1.0], "b": [0.0, 0.0], "c": [1.0, 1.0]}, needs).figures
    assert found["total"].value == pytest.approx((50 + 200 / 3) / 2)
    assert found["ocr"].value == pytest.approx((25 + 50) / 2)
    assert (found["math"].value, found["ocr_math"].value, found["ocr alone"].value) == (75, 75, 0)
    assert found["std"].value == pytest.approx((200 / 3 - 50) / 2)
    assert [found["run 1"].value, found["run 2"].value] == pytest.approx([50, 200 / 3])


def test_a_question_without_a_grade_counts_as_nothing_and_is_said() -> None:
    found = mm_vet.score({"a": [1.0]}, {"a": ["ocr"], "b": ["ocr"]})
    assert found.figures["total"].value == 50
    assert found.notes == ("1 of 2 questions have no grade, and count as 0, as in the official code",)


def test_mm_vet_grades_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="grades of z, which is no question"):
        mm_vet.score({"z": [1.0]}, {"a": ["ocr"]})
    with pytest.raises(InputError, match="questions have 1, 2 grades"):
        mm_vet.score({"a": [1.0], "b": [1.0, 0.0]}, {"a": ["ocr"], "b": ["ocr"]})
    path = tmp_path / "m_gpt-4-grade-1runs.json"
    path.write_text(json.dumps({"v1_0": {"score": [1.5]}}))
    with pytest.raises(InputError, match=r"v1_0\.score\.0: Input should be less than or equal to 1"):
        mm_vet.read_grades(path)
    path.write_text("half of a fi")
    with pytest.raises(InputError, match="is no file of MM-Vet grades: the file: Invalid JSON"):
        mm_vet.read_grades(path)


@pytest.mark.parametrize("capability", [5, None, [], "ocr,flying"])
def test_unknown_capabilities_are_named(tmp_path: Path, capability: object) -> None:
    (tmp_path / "mm-vet.json").write_text(json.dumps({"v1_0": {"capability": capability}}))
    grades = tmp_path / "m_gpt-grade-1runs.json"
    grades.write_text(json.dumps({"v1_0": {"score": [1.0]}}), "utf-8-sig")
    with pytest.raises(InputError, match="is none of rec"):
        mm_vet.BENCHMARK.score(grades, tmp_path)  # type: ignore[misc]


@pytest.mark.parametrize("runs", ["1runs", "3runs"])
@pytest.mark.parametrize("model", ["llava-v1.5-7b", "llava-v1.5-13b"])
def test_mm_vet_tables_are_the_published_ones_to_the_last_digit(data_folder: Path, model: str, runs: str) -> None:
    results = data_folder / "llava_eval" / "mm-vet" / "results"
    needs = mm_vet.read_capabilities(data_folder / "mm_vet")
    found = mm_vet.score(mm_vet.read_grades(results / f"{model}_gpt-4-grade-{runs}.json"), needs)
    compared = 0
    for kind in ("cap-score", "cap-int-score"):
        for row in csv.DictReader((results / f"{model}_gpt-4-{kind}-{runs}.csv").open()):
            if row.pop("") != model or json.loads(row["runs"]) != [
                found.printed(name) for name in found.figures if name.startswith("run ")
            ]:
                continue  # these files also hold rows of other models and of other numbers of runs
            del row["runs"]
            for column, value in row.items():
                assert found.printed(_figure_of(column, kind)) == float(value), (kind, column)
                compared += 1
    assert compared == 8 + 18


def _figure_of(column: str, kind: str) -> str:
    if column in ("total", "std") or kind == "cap-score":
        return column
    return mm_vet.integration(column.split("_")) if "_" in column else f"{column} alone"
