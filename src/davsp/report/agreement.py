"""How well judges agree: with people, as `davsp judge validate` measured it, and with each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from davsp.errors import InputError
from davsp.judges.base import Criterion
from davsp.judges.rates import Rate, Verdict
from davsp.judges.validate import Agreement
from davsp.report.collect import AnsweredQuery, read_json
from davsp.report.significance import Told, same_queries

SEED = 0
"""Of the intervals of kappa."""


@dataclass(frozen=True)
class WithPeople:
    """A judge's agreement with people on the answers of one source model; "all" for all of them."""

    judge: str
    asked: str
    labels: str
    source: str
    figures: Compared


class Measured(BaseModel):
    """A figure and its 95 % interval; None where people gave only one of the labels."""

    value: float | None
    low: float | None
    high: float | None


class Compared(BaseModel):
    """What is shown of a comparison of a judge with people, or with another judge."""

    n: int
    unscored: int
    balanced_accuracy: Measured
    kappa: Measured
    accuracy: Rate


@dataclass(frozen=True)
class BetweenJudges:
    """Two judges on the same answers. `positive`: what they agree or disagree about."""

    model: str
    title: str
    judges: tuple[str, str]
    positive: str
    figures: Compared


class _ByModel(BaseModel):
    all: Compared
    models: dict[str, Compared]


class _Judge(BaseModel):
    name: str
    model: str | None


class _Labels(BaseModel):
    file: str


class _Validation(BaseModel):
    judge: _Judge
    labels: list[_Labels] = []
    refusal: _ByModel | None = None
    harm: _ByModel | None = None


def read_validations(files: Sequence[Path]) -> list[WithPeople]:
    """What `davsp judge validate --json` printed into each file. Raises InputError for a file of something else."""
    return [found for file in files for found in _read_validation(file)]


def between_judges(told: Sequence[Told]) -> list[BetweenJudges]:
    """Every two evaluations of one model by different judges, over the answers that are the same in both."""
    found: list[BetweenJudges] = []
    for first, second in combinations(told, 2):
        one, two = first[0], second[0]
        if one.model == two.model and one.judge != two.judge and same_queries(first, second):
            judges = (one.judge, two.judge)
            for positive, pairs in _pairs(first[1], second[1]).items():
                if pairs:
                    figures = Compared.model_validate(Agreement.of(pairs).to_json(SEED))
                    found.append(BetweenJudges(one.model, one.title, judges, positive, figures))
    return found


def _read_validation(file: Path) -> Iterator[WithPeople]:
    content: Any = read_json(file, f"{file} is no file of a judge's validation")
    try:
        checked = _Validation.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{file} is not what `davsp judge validate --json` prints: {error.errors()[0]['msg']}.") from (
            error
        )
    judge = f"{checked.judge.name} ({checked.judge.model})" if checked.judge.model else checked.judge.name
    labels = ", ".join(label.file for label in checked.labels)
    for criterion, by_model in ((Criterion.REFUSAL, checked.refusal), (Criterion.HARM, checked.harm)):
        if by_model:
            for source, figures in [("all", by_model.all), *by_model.models.items()]:
                yield WithPeople(judge, criterion.value, labels, source, figures)


def _pairs(
    one: Mapping[str, AnsweredQuery], two: Mapping[str, AnsweredQuery]
) -> dict[str, list[tuple[bool, bool | None]]]:
    """What both judges said of the same answers; None where either of them left one unscored."""
    pairs: dict[str, list[tuple[bool, bool | None]]] = {"malicious resisted": [], "harmless refused": []}
    for key in one.keys() & two.keys():
        success = Verdict.RESISTED if "rsr" in one[key].measures else Verdict.OVER_REFUSED
        found = pairs["malicious resisted" if success is Verdict.RESISTED else "harmless refused"]
        for name, first in one[key].answers.items():
            second = two[key].answers.get(name)
            if second and first.text == second.text:
                unscored = Verdict.UNSCORED in (first.verdict, second.verdict)
                found.append((first.verdict is success, None if unscored else second.verdict is success))
    return pairs
