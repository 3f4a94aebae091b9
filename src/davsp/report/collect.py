"""Evaluations as they lie in folders: results.json and transcripts.jsonl, read and checked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from davsp.benchmarks.figures import Figure
from davsp.errors import InputError
from davsp.judges.rates import JudgedSample, Verdict
from davsp.report.rows import described_judge

RESULTS = "results.json"
TRANSCRIPTS = "transcripts.jsonl"
MOST_BYTES = 64 * 2**20
"""No results.json, and no file of a judge's validation, is larger than this."""


class BenchmarkFacts(BaseModel):
    """What results.json says of the benchmark that was asked."""

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    variant: str
    purpose: str
    licence: str = ""
    citation: str = ""
    content: str = ""
    published: int | None = None
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


Count = Annotated[int, Field(ge=0, strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Share = Annotated[Number, Field(ge=0, le=1)]


class _Rate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rate: _Share | None
    n: Count
    low: _Share | None
    high: _Share | None
    unscored: Count

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if len({value is None for value in (self.rate, self.low, self.high, self.n or None)}) > 1:
            raise ValueError("rate, low and high go with an n above 0, and only with it")
        return self


class _Rates(BaseModel):
    rsr: dict[str, _Rate]
    benign_accuracy: dict[str, _Rate]
    over_refusal: dict[str, _Rate]


class _Cost(BaseModel):
    n: Count
    calls: Number | None
    input_tokens: Number | None
    output_tokens: Number | None
    helper_calls: Number | None
    seconds: Number | None


class _Figure(BaseModel):
    value: Annotated[float, Field(strict=True)]
    n: Count
    low: float | None
    high: float | None
    interval: str


class _Judge(BaseModel):
    name: str
    model: str | None


class _Results(BaseModel):
    """What every results.json has, version 0.1.0's too; of what came later, how it must look if it is there."""

    model: str
    seed: Annotated[int, Field(strict=True)]
    queries: Annotated[Count, Field(gt=0)]
    max_new_tokens: Count
    defences: dict[str, _Rates] = Field(min_length=1)
    unscored: dict[str, Count]
    seconds: dict[str, Number]
    versions: dict[str, str]
    judge: _Judge | None = None
    cost: dict[str, _Cost] = {}
    benchmark: BenchmarkFacts | None = None
    scores: dict[str, dict[str, _Figure]] = {}


@dataclass(frozen=True)
class Evaluation:
    """One results.json: `results` as they were read, and the parts of them that tables need, checked."""

    folder: Path
    results: Mapping[str, Any]
    benchmark: BenchmarkFacts | None
    scores: Mapping[str, Mapping[str, Figure]]

    @property
    def model(self) -> str:
        return str(self.results["model"])

    @property
    def judge(self) -> str:
        return described_judge(self.results)

    @property
    def seed(self) -> int:
        return int(self.results["seed"])

    @property
    def title(self) -> str:
        """`FigStep, tiny`, or `FigStep, tiny, 20 of 50`; where no benchmark was asked, the folder's name."""
        return self.benchmark.title + self.part() if self.benchmark else self.folder.resolve().name

    def part(self, usual: str = "") -> str:
        """What part of the benchmark was asked: `, tiny, 20 of 50`. The `usual` variant is not named."""
        facts, queries = self.benchmark, self.results["queries"]
        if facts is None:
            return ""
        variant = "" if facts.variant == usual else f", {facts.variant}"
        return variant if facts.published in (None, queries) else f"{variant}, {queries} of {facts.published}"

    @property
    def source(self) -> tuple[str, str] | None:
        """The benchmark and its variant; None for queries of one's own."""
        return (self.benchmark.name, self.benchmark.variant) if self.benchmark else None

    @property
    def asked(self) -> tuple[object, ...]:
        """What two evaluations share that asked the same: the benchmark, its variant and the number of queries.

        Of queries of one's own nothing is known but their kinds and how many there are of each.
        """
        if self.source:
            return (*self.source, self.results["queries"])
        rates = next(iter(self.results["defences"].values()))
        return tuple((m, kind, r["n"] + r["unscored"]) for m in sorted(rates) for kind, r in sorted(rates[m].items()))


class Answered(NamedTuple):
    """A defence's verdict on a query, and a hash of the answer's text, the same for the same text in this process."""

    verdict: Verdict
    text: int


class AnsweredQuery(NamedTuple):
    """A query, the measures it counts in, each with the verdict that is a success, and the answers by defence."""

    group: str
    question: str
    measures: Mapping[str, Verdict]
    answers: Mapping[str, Answered]


def collect(folders: Sequence[Path]) -> list[Evaluation]:
    """The evaluations in each folder: its own, and those of the folders directly in it, by name.

    Raises InputError for a folder without any, and for results that are damaged.
    """
    found: dict[Path, Evaluation] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder, and holds no finished evaluation. Check the path.")
        inside = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
        holding = [path for path in inside if (path / RESULTS).is_file()]
        if not holding:
            raise InputError(
                f"{folder} holds no finished evaluation ({RESULTS}), and no folder with one: run `davsp evaluate` or "
                "`davsp demo`."
            )
        found |= {path.resolve(): read_evaluation(path) for path in holding if path.resolve() not in found}
    return list(found.values())


def read_evaluation(folder: Path) -> Evaluation:
    """The evaluation in a folder. Raises InputError where there is none, and for results that are damaged."""
    path = folder / RESULTS
    content = read_json(path, f"{folder} holds no finished evaluation: run `davsp evaluate` or `davsp demo`")
    try:
        checked = _Results.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path} is damaged: {_first(error)}. Run the evaluation again.") from error
    names = set(checked.defences)
    for part in ("unscored", "cost") if checked.cost else ("unscored",):
        if missing := sorted(names - set(content[part])):
            raise InputError(f"{path} is damaged: {part} lacks {missing[0]!r}. Run the evaluation again.")
    scores = {name: {key: Figure(**vars(f)) for key, f in found.items()} for name, found in checked.scores.items()}
    return Evaluation(folder, content, checked.benchmark, scores)


def read_json(path: Path, absent: str) -> Any:
    """The content of a JSON file. Raises InputError when there is none, with `absent`, and when it cannot be read."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} is larger than {MOST_BYTES // 2**20} MiB. Is it the right file?")
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{absent} ({path} is not there).") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}. Write it again.") from error


def read_records(file: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSON Lines file. Raises InputError with the line that cannot be read."""
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError) as error:
                    reason = getattr(error, "msg", error)
                    raise InputError(f"{file}, line {number}: no JSON ({reason}). Remove it.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {file}: {error}. Check the path.") from error


def read_transcripts(evaluation: Evaluation) -> dict[str, AnsweredQuery]:
    """What was asked and answered, by the query's id; {} where the folder has no transcripts.

    Raises InputError for a line that is damaged or of a query that was there before, and where lines are missing.
    """
    file = evaluation.folder / TRANSCRIPTS
    if not file.is_file():
        return {}
    every = evaluation.results["defences"].values()
    with_right_answers = {kind for rates in every for kind in rates["benign_accuracy"]}
    found = {}
    for number, content in enumerate(read_records(file), start=1):
        try:
            record = _RECORD.validate_python(content)
        except ValidationError as error:
            raise InputError(f"{file}, line {number} is damaged: {_first(error)}. Run the evaluation again.") from error
        sample = JudgedSample(record.id, record.group, record.malicious, record.reference is not None, Verdict.UNSCORED)
        # A reference may be a mere text to compare with, where no answer is right.
        if sample.kind not in with_right_answers:
            sample = replace(sample, has_reference=False)
        if record.id in found:
            raise InputError(
                f"{file}, line {number}: the query {record.id!r} is there twice. Run the evaluation again."
            )
        answers = {name: Answered(said.verdict, hash(said.text)) for name, said in record.answers.items()}
        found[record.id] = AnsweredQuery(record.group, record.question, sample.measures, answers)
    if len(found) != (asked := evaluation.results["queries"]):
        raise InputError(f"{file} has {len(found)} of {asked} queries. Run the evaluation again, or delete the file.")
    return found


class _Said(BaseModel):
    text: str
    verdict: Verdict


class _Record(BaseModel):
    id: str
    group: str
    malicious: bool
    question: str
    reference: str | None = None
    answers: dict[str, _Said]


_RECORD = TypeAdapter(_Record)


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, and where."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'all of it'}: {first['msg'].lower()}"
