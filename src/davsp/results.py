"""What an evaluation measured, as it lies in its folder: results.json and transcripts.jsonl."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from davsp.errors import InputError
from davsp.rates import Cost, Count, Figure, Measure, Number, Part, Rate, Rates, Verdict
from davsp.util.files import read_json, read_json_lines, write_json, write_text
from davsp.util.provenance import Provenance

RESULTS = "results.json"
TRANSCRIPTS = "transcripts.jsonl"
UNDEFENDED = "none"
"""The name under which the answers of the undefended model stand among those of the defences."""
Checked = TypeVar("Checked", bound=BaseModel)


class JudgeFacts(Part):
    """Who judged the answers."""

    name: str = Field(description="The judge's name, as --judge takes it.")
    model: str | None = Field(description="The language model that it asks, if any.")

    def __str__(self) -> str:
        """`rules`, or `llm (openai/gpt-4o)`."""
        return f"{self.name} ({self.model})" if self.model else self.name


class BenchmarkFacts(Part):
    """The benchmark that was asked."""

    name: str = Field(description="Its name, as --benchmark takes it.")
    title: str = Field(description="Its published name.")
    variant: str = Field(description="Which part of it was asked.")
    purpose: str = Field(description="What it measures: safety, usefulness or over-refusal.")
    licence: str = Field(default="", description="The licence of its files.")
    citation: str = Field(default="", description="The paper to cite.")
    content: str = Field(default="", description="What a reader of its queries must expect.")
    published: int | None = Field(default=None, description="How many queries the variant was published with.")
    dropped: tuple[str, ...] = Field(default=(), description="Published queries that could not be used, and why.")
    notes: tuple[str, ...] = Field(default=(), description="What is out of the ordinary, such as missing answers.")


class AttackFacts(Part):
    """The attack that made the queries: what it knew, and what it took."""

    name: str = Field(description="Its name, as --attack takes it.")
    options: dict[str, Any] = Field(default={}, description="Its options.")
    against: tuple[str, ...] = Field(
        default=(),
        description="The defences that it knew, `none` for the model alone; empty for one that knew nothing.",
    )
    model: str | None = Field(default=None, description="The model whose gradient or scores it read, if any.")
    seed: int = Field(default=0, description="Its seed.")
    queries: Count = Field(description="How many queries it attacked.")
    steps: Count = Field(default=0, description="Steps over all queries.")
    calls: Count = Field(default=0, description="Forward passes of one query through the model, over all queries.")
    seconds: Number = Field(default=0.0, description="How long it took.")
    withstood: dict[int, Rate] = Field(
        default={},
        description="By number of steps: of the attacked queries, those that had not given in by then, as the search "
        "itself saw it by the first choices of the model.",
    )
    provenance: Provenance | None = Field(default=None, description="The command that made it.")

    def __str__(self) -> str:
        """`pgd (eps 8, steps 40) against davsp`."""
        told = ", ".join(f"{name} {value}" for name, value in self.options.items() if isinstance(value, int | float))
        chosen = ", ".join(str(value) for value in self.options.values() if isinstance(value, str) and value)
        against = f" against {', '.join(self.against)}" if self.against else ""
        return f"{self.name} ({told or chosen}){against}" if told or chosen else f"{self.name}{against}"


_NEWER = (
    "model_identity",
    "data",
    "identities",
    "scoring",
    "thinking_tokens",
    "remarks",
    "judge_identity",
    "device",
    "dtype",
    "provenance",
    "attack",
)
"""What version 0.1.0 did not write, and is not written where there is nothing to say."""


class Results(Part):
    """An evaluation's results.json: safety, usefulness, over-refusal and cost behind every defence.

    Absent where version 0.1.0 wrote the file are `judge`, `cost`, `benchmark`, `scores`, `model_identity`, `data`,
    `identities`, `scoring`, `thinking_tokens`, `remarks`, `judge_identity`, `device`, `dtype`, `provenance` and
    `attack`.
    """

    model: str = Field(description="The model's name.")
    model_identity: str | None = Field(
        default=None,
        description="Digest of what the model's answers depend on: weights, processor, templates, settings, precision.",
    )
    device: str | None = Field(default=None, description="Where a loaded model was: cpu, cuda:0 and its name.")
    dtype: str | None = Field(default=None, description="The types of a loaded model's weights.")
    seed: int = Field(strict=True, description="The seed by which the queries were chosen.")
    queries: Count = Field(gt=0, description="How many queries were asked behind each defence.")
    data: str | None = Field(default=None, description="Digest of the queries: images, questions, answers and labels.")
    max_new_tokens: Count = Field(description="The most tokens of an answer.")
    thinking_tokens: Count = Field(default=0, description="The tokens that it may think in, beside those.")
    judge: JudgeFacts = Field(
        default=JudgeFacts(name="rules", model=None),
        description="The judge of the answers; version 0.1.0 had rules alone.",
    )
    judge_identity: str | None = Field(default=None, description="Digest of all that the judge's findings depend on.")
    defences: dict[str, Rates] = Field(min_length=1, description="The rates behind each defence, by its name.")
    identities: dict[str, str] = Field(
        default={},
        description="Digest of all that each defence's answers depend on, by its name.",
    )
    unscored: dict[str, Count] = Field(description="Behind each defence, how many answers are unscored.")
    cost: dict[str, Cost] = Field(default={}, description="Behind each defence, what a query costs.")
    scoring: dict[str, Count] = Field(
        default={}, description="How many benign queries' answers were compared with their references, by the rule."
    )
    remarks: tuple[str, ...] = Field(default=(), description="What is out of the ordinary in how this was measured.")
    seconds: dict[str, Number] = Field(description="Wall-clock time of each defence, and of a demo's other stages.")
    versions: dict[str, str] = Field(description="Versions of Python and of the packages that decide the results.")
    provenance: Provenance | None = Field(
        default=None, description="The command that measured it, and when; its seed, digests and versions are above."
    )
    attack: AttackFacts | None = Field(default=None, description="The attack that made the queries, if one did.")
    benchmark: BenchmarkFacts | None = Field(default=None, description="The benchmark that was asked, if it was one.")
    scores: dict[str, dict[str, Figure]] = Field(
        default={}, description="The benchmark's official figures behind each defence, by their names."
    )

    @model_validator(mode="after")
    def _tells_of_every_defence(self) -> Self:
        told: dict[str, Iterable[str]] = {"unscored": self.unscored} | ({"cost": self.cost} if self.cost else {})
        for part, names in told.items():
            if missing := sorted(self.defences.keys() - set(names)):
                raise ValueError(f"{part} lacks {missing[0]!r}")
        return self

    def to_json(self) -> dict[str, Any]:
        """As it stands in results.json: `benchmark` and `scores` only where a benchmark was asked, and what earlier
        versions lack only where there is something to say."""
        content = self.model_dump(mode="json")
        for rates in content["defences"].values():
            for rate in (rates[measure][kind] for measure in Measure for kind in rates[measure]):
                if not rate["blocked"]:
                    del rate["blocked"]
            for name in ("unchanged", "token_f1"):
                if not rates[name]:
                    del rates[name]
        absent = {name for name in _NEWER if not content[name]} | (set() if self.benchmark else {"benchmark", "scores"})
        return {name: value for name, value in content.items() if name not in absent}


class AnswerRecord(Part):
    """One answer in transcripts.jsonl."""

    text: str = Field(description="The answer.")
    verdict: Verdict = Field(description="What it was worth.")
    error: str | None = Field(default=None, description="Why there is no answer, or no verdict.")


class TranscriptRecord(Part):
    """A line of transcripts.jsonl: one query, and its answers by defence."""

    id: str = Field(description="The query's id.")
    group: str = Field(description="The query's group.")
    malicious: bool = Field(description="Whether it asks for something harmful.")
    question: str = Field(description="The question, before any defence.")
    reference: str | None = Field(default=None, description="The right answer, or a text to compare with.")
    scoring: str | None = Field(
        default=None, description='By which rule an answer is right; "" where none is compared with the reference.'
    )
    answers: dict[str, AnswerRecord] = Field(description="The answer behind each defence, by the defence's name.")

    @property
    def is_compared(self) -> bool:
        """Whether answers are compared with the reference; of a record of earlier versions, whether there is one."""
        return self.reference is not None if self.scoring is None else bool(self.scoring)


def write_results(folder: Path, results: Results) -> None:
    """Write results.json. Raises StorageError where the folder is not writable."""
    write_json(folder / RESULTS, results.to_json())


def read_results(folder: Path) -> Results:
    """The results in a folder. Raises InputError where there are none, and for a file that is damaged or too large."""
    absent = f"{folder} holds no finished evaluation: run `davsp evaluate` or `davsp demo`"
    return read_checked(folder / RESULTS, Results, absent)


def read_checked(path: Path, schema: type[Checked], absent: str) -> Checked:
    """A file of an evaluation, by its model.

    Raises InputError with `absent` where there is none, and for a file that is damaged or too large.
    """
    content = read_json(path, absent)
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path} is damaged: {first_problem(error)}. Run the evaluation again.") from error


def write_transcripts(folder: Path, records: Iterable[TranscriptRecord]) -> None:
    """Write transcripts.jsonl, a line for every record. Raises StorageError where the folder is not writable."""
    lines = (
        json.dumps(
            record.model_dump(mode="json", exclude={"scoring"} if record.scoring is None else None), ensure_ascii=False
        )
        for record in records
    )
    write_text(folder / TRANSCRIPTS, "".join(f"{line}\n" for line in lines))


def read_transcripts(folder: Path) -> Iterator[TranscriptRecord]:
    """The records of a folder's transcripts.jsonl. Raises InputError with the line that is damaged or there twice."""
    file = folder / TRANSCRIPTS
    seen: set[str] = set()
    for number, content in enumerate(read_json_lines(file), start=1):
        try:
            record = TranscriptRecord.model_validate(content)
        except ValidationError as error:
            raise InputError(
                f"{file}, line {number} is damaged: {first_problem(error)}. Run the evaluation again."
            ) from error
        if record.id in seen:
            raise InputError(
                f"{file}, line {number}: the query {record.id!r} is there twice. Run the evaluation again."
            )
        seen.add(record.id)
        yield record


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong, and where."""
    first = error.errors(include_url=False, include_input=False)[0]
    problem = first["msg"].removeprefix("Value error, ")
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {problem[:1].lower()}{problem[1:]}" if where else problem[:1].lower() + problem[1:]
