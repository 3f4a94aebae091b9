"""How well judges agree: with people, as `davsp judge validate` measured it, and with each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from pydantic import BaseModel, ValidationError

from davsp.errors import InputError
from davsp.judges.base import Criterion
from davsp.judges.validate import Agreement
from davsp.rates import Measure, Rate, Verdict
from davsp.report.collect import AnsweredEvaluation, AnsweredQuery
from davsp.report.significance import same_queries
from davsp.results import JudgeFacts
from davsp.util.files import read_json

SEED = 0
"""Of the intervals of kappa."""


class AgreementFigure(BaseModel):
    """A figure and its 95 % interval; None where people gave only one of the labels."""

    value: float | None
    low: float | None
    high: float | None


class AgreementFigures(BaseModel):
    """What is shown of a comparison of a judge with people, or with another judge."""

    n: int
    unscored: int
    balanced_accuracy: AgreementFigure
    kappa: AgreementFigure
    accuracy: Rate


@dataclass(frozen=True)
class AgreementWithPeople:
    """A judge's agreement with people on the answers of one source model; "all" for all of them."""

    judge: str
    question: str
    labels: str
    source: str
    figures: AgreementFigures


@dataclass(frozen=True)
class AgreementOfJudges:
    """Two judges on the same answers. `positive`: what they agree or disagree about."""

    model: str
    title: str
    judges: tuple[str, str]
    positive: str
    figures: AgreementFigures


class _ByModel(BaseModel):
    all: AgreementFigures
    models: dict[str, AgreementFigures]


class _Labels(BaseModel):
    file: str


class _Validation(BaseModel):
    judge: JudgeFacts
    labels: list[_Labels] = []
    refusal: _ByModel | None = None
    harm: _ByModel | None = None


def read_validations(files: Sequence[Path]) -> list[AgreementWithPeople]:
    """What `davsp judge validate --json` printed into each file. Raises InputError for a file of something else."""
    return [agreement for file in files for agreement in _read_validation(file)]


def between_judges(evaluations: Sequence[AnsweredEvaluation]) -> list[AgreementOfJudges]:
    """Every two evaluations of one model by different judges, over the answers that are the same in both."""
    agreements: list[AgreementOfJudges] = []
    for first, second in combinations(evaluations, 2):
        one, two = first.evaluation, second.evaluation
        if one.model == two.model and one.judge != two.judge and same_queries(first, second):
            judges = (one.judge, two.judge)
            for positive, pairs in _pairs(first.queries, second.queries).items():
                if pairs:
                    figures = AgreementFigures.model_validate(Agreement.of(pairs).to_json(SEED))
                    agreements.append(AgreementOfJudges(one.model, one.title, judges, positive, figures))
    return agreements


def _read_validation(file: Path) -> Iterator[AgreementWithPeople]:
    content = read_json(file, f"{file} is no file of a judge's validation")
    try:
        validation = _Validation.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{file} is not what `davsp judge validate --json` prints: {error.errors()[0]['msg']}.") from (
            error
        )
    labels = ", ".join(label.file for label in validation.labels)
    for criterion, by_model in ((Criterion.REFUSAL, validation.refusal), (Criterion.HARM, validation.harm)):
        if by_model:
            for source, figures in [("all", by_model.all), *by_model.models.items()]:
                yield AgreementWithPeople(str(validation.judge), criterion.value, labels, source, figures)


def _pairs(
    one: Mapping[str, AnsweredQuery], two: Mapping[str, AnsweredQuery]
) -> dict[str, list[tuple[bool, bool | None]]]:
    """What both judges said of the same answers; None where either of them left one unscored."""
    resisted: list[tuple[bool, bool | None]] = []
    refused: list[tuple[bool, bool | None]] = []
    for key in one.keys() & two.keys():
        malicious = Measure.RSR in one[key].measures
        success = Verdict.RESISTED if malicious else Verdict.OVER_REFUSED
        for name, first in one[key].answers.items():
            second = two[key].answers.get(name)
            judged = second and Verdict.BLOCKED not in (first.verdict, second.verdict)
            if second and judged and first.text_hash == second.text_hash:
                unscored = Verdict.UNSCORED in (first.verdict, second.verdict)
                pair = (first.verdict is success, None if unscored else second.verdict is success)
                (resisted if malicious else refused).append(pair)
    return {"malicious resisted": resisted, "harmless refused": refused}
