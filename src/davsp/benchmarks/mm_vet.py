"""MM-Vet: 218 open questions, each needing some of six capabilities, and how their grades add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from davsp.benchmarks.base import (
    Benchmark,
    BenchmarkAnswer,
    Hub,
    Purpose,
    QueryCollector,
    Variant,
    draw,
    each_file,
    hub_records,
    locate,
    records,
    shards,
)
from davsp.benchmarks.figures import Scores, resampled
from davsp.data.records import read_text
from davsp.errors import InputError
from davsp.results import Figure

INTEGRATIONS = {
    "rec_know_gen": 62,
    "rec": 37,
    "ocr_spat": 26,
    "ocr_spat_math": 14,
    "rec_spat": 12,
    "ocr": 12,
    "ocr_math": 11,
    "rec_know": 9,
    "rec_ocr_know_gen": 8,
    "rec_ocr_gen_spat": 8,
    "rec_ocr_spat": 7,
    "rec_ocr": 4,
    "ocr_know_spat": 3,
    "rec_know_spat": 2,
    "ocr_gen_spat": 2,
    "rec_ocr_spat_math": 1,
}
"""The published integrations of capabilities, and how many questions need each."""

CAPABILITIES = ("rec", "ocr", "know", "gen", "spat", "math")
PAPER_TRAINING = 100
"""Questions that train in DAVSP's paper; the other 118 are its in-distribution test."""

DECIMALS = 1


class Grades(BaseModel):
    """The grades of one answer, one for each run."""

    score: list[Annotated[float, Field(ge=0, le=1)]] = Field(min_length=1)


def integration(capabilities: Sequence[str]) -> str:
    """The name of a set of capabilities, in the benchmark's order."""
    return "_".join(capability for capability in CAPABILITIES if capability in capabilities)


def score(grades: Mapping[str, Sequence[float]], capabilities: Mapping[str, Sequence[str]], name: str = "") -> Scores:
    """The official scores, in percent: of every capability, of every integration, and in total.

    `grades`: by question, one grade in 0..1 for each run; `capabilities`: by question, what it needs. A score is the
    mean over runs of the sum of grades over the number of PUBLISHED questions. `std` is the spread of the total over
    runs, which has no interval. Raises InputError for grades of unknown questions, or of unequal numbers of runs.
    """
    if unknown := [key for key in grades if key not in capabilities]:
        raise InputError(f"there are grades of {unknown[0]}, which is no question of MM-Vet.")
    if len(numbers := {len(runs) for runs in grades.values()}) != 1:
        raise InputError(f"questions have {', '.join(map(str, sorted(numbers)))} grades. Each needs one of every run.")
    runs = numbers.pop()
    members: dict[str, list[str]] = {}
    for key, needed in capabilities.items():
        for part in (*needed, integration(needed) if len(needed) > 1 else f"{needed[0]} alone", "total"):
            members.setdefault(part, []).append(key)
    leading = [part for part in ("total", *CAPABILITIES) if part in members]
    figures = {}
    for part in (*leading, *(part for part in members if part not in leading)):
        needing = set(members[part])
        figures[part] = _mean_figure([grades[key] for key in grades if key in needing], len(needing))
    totals = [_sum([grade[i] for grade in grades.values()]) / len(capabilities) * 100 for i in range(runs)]
    figures["std"] = Figure(value=float(np.std(totals)), n=runs)
    for i, total in enumerate(totals, start=1):
        figures[f"run {i}"] = Figure(value=total, n=len(grades))
    missing = len(capabilities) - len(grades)
    note = f"{missing} of {len(capabilities)} questions have no grade, and count as 0, as in the official code"
    return Scores(name, figures, DECIMALS, (note,) if missing else ())


def _official(said: Sequence[BenchmarkAnswer]) -> Scores:
    """The scores of one run of grading, over the questions that have a grade."""
    if not said:
        return Scores("", {}, DECIMALS)
    names = [str(number) for number in range(len(said))]
    grades = {name: [one.marks["grade"]] for name, one in zip(names, said, strict=True)}
    scores = score(grades, {name: one.group.split("_") for name, one in zip(names, said, strict=True)})
    return replace(scores, figures={k: f for k, f in scores.figures.items() if k not in ("std", "run 1")})


def _mean_figure(grades: Sequence[Sequence[float]], published: int) -> Figure:
    runs = len(grades[0]) if grades else 1
    values = np.array([_sum([grade[i] for grade in grades]) for i in range(runs)]) / published * 100
    each = np.array([np.mean(grade) * 100 for grade in grades] + [0.0] * (published - len(grades)))
    return resampled(float(values.mean()), [each], lambda means: means)


def _sum(values: Sequence[float]) -> float:
    """A sum in the order of the values, as the official code makes it, to its last digit."""
    total = 0.0
    for value in values:
        total += value
    return total


def read_grades(path: Path) -> dict[str, list[float]]:
    """The grades of a published file `<model>_<judge>-grade-<N>runs.json`. Raises InputError for anything else."""
    try:
        found = TypeAdapter(dict[str, Grades]).validate_json(read_text(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(
            f"{path} is no file of MM-Vet grades: {where}: {first['msg']}. Give <model>_<judge>-grade-<N>runs.json."
        ) from error
    if not found:
        raise InputError(f"{path} holds no grades.")
    return {key: grades.score for key, grades in found.items()}


def read_capabilities(folder: Path) -> dict[str, list[str]]:
    """What each question needs, from the benchmark's own mm-vet.json."""
    table = locate(folder, "mm-vet.json")
    return {str(record["id"]): _needed(record["capability"]) for record in records(table, "id", "capability")}


def _needed(capability: Any) -> list[str]:
    """The capabilities of a record: a list of them, or a text with commas between. Raises InputError for others."""
    named = capability.split(",") if isinstance(capability, str) else capability
    if not isinstance(named, list) or not named or not set(map(str, named)) <= set(CAPABILITIES):
        raise InputError(f"the capability {capability!r} is none of {', '.join(CAPABILITIES)}.")
    return named


def _score(path: Path, folder: Path | None) -> list[Scores]:
    if folder is None:
        raise InputError(
            "grades do not say what each question needs. Give the folder of MM-Vet, with mm-vet.json: --folder."
        )
    capabilities = read_capabilities(folder)
    files = sorted(path.glob("*-grade-*runs.json")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} holds no files <model>_<judge>-grade-<N>runs.json.")
    return each_file(files, lambda file: score(read_grades(file), capabilities, file.stem))


def _read(folder: Path, variant: str, found: QueryCollector) -> None:
    if files := shards(folder, "data/test-*.parquet"):
        rows = [
            {"id": f"v1_{number}", **record}
            for number, record in enumerate(hub_records(files, "image", "question", "answer", "capability"))
        ]
    else:
        table = locate(folder, "mm-vet.json")
        images = locate(folder, "images")
        rows = [
            record | {"image": images / str(record["imagename"])}
            for record in records(table, "id", "imagename", "question", "answer", "capability")
        ]
    names = [str(row["id"]) for row in rows]
    training = set() if variant == "all" else draw(names, min(PAPER_TRAINING, len(names)))
    for row in rows:
        name = str(row["id"])
        if variant == "all" or (name in training) == (variant == "paper-train"):
            found.add(
                name,
                row["image"],
                str(row["question"]),
                answer=str(row["answer"]),
                malicious=False,
                group=integration(_needed(row["capability"])),
            )


BENCHMARK = Benchmark(
    name="mm_vet",
    title="MM-Vet",
    purpose=Purpose.USEFULNESS,
    source="github.com/yuweihao/MM-Vet (mm-vet.zip: mm-vet.json, images)",
    hub=Hub("whyu/mm-vet", "8ce15108c0b55c67200eb96601ba2bb98183ff65", ("data/test-*.parquet",)),
    licence="CC BY-NC 4.0",
    citation=(
        "Yu et al., MM-Vet: Evaluating Large Multimodal Models for Integrated Capabilities, ICML 2024, arXiv 2308.02490"
    ),
    content="Harmless.",
    variants={
        "all": Variant("all questions", sum(INTEGRATIONS.values()), INTEGRATIONS, images=200),
        "paper-train": Variant("a part of the size that DAVSP's paper trains on", PAPER_TRAINING),
        "paper-test": Variant("all but paper-train", sum(INTEGRATIONS.values()) - PAPER_TRAINING),
    },
    read=_read,
    official=_official,
    graded=True,
    score=_score,
)
