"""Evaluations as they lie in folders, and what their transcripts say of each query."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from davsp.errors import InputError
from davsp.judges.rates import JudgedSample
from davsp.judges.scoring import EXACT
from davsp.judges.unchanged import Agreement
from davsp.rates import Measure, Verdict
from davsp.report.pages import PAGE
from davsp.report.rows import with_all
from davsp.results import RESULTS, TRANSCRIPTS, UNDEFENDED, BenchmarkFacts, Results, read_results, read_transcripts
from davsp.util.files import write_bytes

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Evaluation:
    """One finished evaluation: `folder` holds its results, transcripts, logs and page."""

    folder: Path
    results: Results

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The evaluation in a folder. Raises InputError where there is none, and for results that are damaged."""
        return cls(Path(folder), read_results(Path(folder)))

    @property
    def model(self) -> str:
        return self.results.model

    @property
    def judge(self) -> str:
        """`rules`, or `llm (openai/gpt-4o)`."""
        return str(self.results.judge)

    @property
    def seed(self) -> int:
        return self.results.seed

    @property
    def benchmark(self) -> BenchmarkFacts | None:
        return self.results.benchmark

    @property
    def title(self) -> str:
        """`FigStep, tiny`, or `FigStep, tiny, 20 of 50`; where no benchmark was asked, the folder's name."""
        named = self.benchmark.title + self.part() if self.benchmark else self.folder.resolve().name
        return f"{named}, attacked by {self.results.attack}" if self.results.attack and self.benchmark else named

    def part(self, usual: str = "") -> str:
        """What part of the benchmark was asked: `, tiny, 20 of 50`. The `usual` variant is not named."""
        facts, queries = self.benchmark, self.results.queries
        if facts is None:
            return ""
        variant = "" if facts.variant == usual else f", {facts.variant}"
        return variant if facts.published in (None, queries) else f"{variant}, {queries} of {facts.published}"

    @property
    def source(self) -> tuple[str, str] | None:
        """The benchmark and its variant; None for queries of one's own."""
        return (self.benchmark.name, self.benchmark.variant) if self.benchmark else None

    @property
    def query_set(self) -> tuple[object, ...]:
        """What two evaluations share that asked the same: the attack, the benchmark, its variant and the number of
        queries.

        Of queries of one's own nothing is known but their kinds and how many there are of each. How many answers are
        compared with the undefended ones depends on these, and not on the queries alone.
        """
        attack = str(self.results.attack or "")
        if self.source:
            return (attack, *self.source, self.results.queries)
        rates = next(iter(self.results.defences.values()))
        counts = (
            (measure, kind, rate.n + rate.unscored)
            for measure in Measure
            if measure is not Measure.UNCHANGED
            for kind, rate in sorted(rates[measure].items())
        )
        return (attack, *counts)

    @property
    def rules(self) -> frozenset[str]:
        """By which rules answers were right: earlier versions had equality alone."""
        return frozenset(self.results.scoring or {EXACT: 0}) if self.benchmark is None else frozenset()

    def sample(self, defence: str) -> tuple[object, ...]:
        """What tells this run of a defence from others: its model, queries and identity, of which a greedy model makes
        the same answers every time; where an earlier version did not write them down, the seed."""
        results = self.results
        known = (results.model_identity, results.data, results.identities.get(defence))
        return (results.seed,) if None in known else known

    def table(self, width: int = 120) -> str:
        """Rates with intervals, costs and warnings, as text of so many columns."""
        from rich.console import Console

        from davsp.report.terminal import print_table

        console = Console(width=width, file=io.StringIO(), force_jupyter=False)
        with console.capture() as captured:
            print_table(self.results, console)
        return captured.get()

    def to_pandas(self) -> pandas.DataFrame:
        """A row for every defence, measure and kind of query: rate, n, low, high (the 95 % interval), unscored and
        blocked.

        The kind "all" takes all kinds of a measure together. Raises InputError without pandas.
        """
        try:
            import pandas
        except ImportError as error:
            raise InputError("pandas is not installed. Run: pip install 'davsp[notebook]'") from error
        return pandas.DataFrame(
            [
                {"defence": defence, "measure": measure.value, "kind": kind, **rate.model_dump()}
                for defence, rates in self.results.defences.items()
                for measure in Measure
                for kind, rate in with_all(rates[measure]).items()
            ]
        )

    def report(self, path: str | Path | None = None) -> Path:
        """The page that shows it all: where it is, or copied to `path`, an .html file that needs nothing else.

        Raises InputError where there is no page, StorageError when `path` cannot be written.
        """
        page = self.folder / PAGE
        if not page.is_file():
            raise InputError(f"{self.folder} holds no page: write it with `davsp report {self.folder}`.")
        if path is None:
            return page
        write_bytes(Path(path), page.read_bytes())
        return Path(path)

    def _repr_html_(self) -> str:
        from davsp.report.pages import render

        return render(
            "summary.html.j2",
            title=self.title,
            results=self.results,
        )


class HashedAnswer(NamedTuple):
    """A defence's verdict on a query, and a hash of the answer's text, the same for the same text in this process.

    `unchanged`: whether it is the undefended answer; None where it is not compared with that.
    """

    verdict: Verdict
    text_hash: int
    unchanged: bool | None = None


class AnsweredQuery(NamedTuple):
    """A query, the measures of verdicts that it counts in, each with those that are a success, and the answers by
    defence."""

    group: str
    question: str
    measures: Mapping[Measure, frozenset[Verdict]]
    answers: Mapping[str, HashedAnswer]


class AnsweredEvaluation(NamedTuple):
    """An evaluation, and its queries with their answers, by the queries' ids."""

    evaluation: Evaluation
    queries: Mapping[str, AnsweredQuery]


def collect(folders: Sequence[Path]) -> list[Evaluation]:
    """The evaluations in each folder: its own, and those of the folders directly in it, by name.

    Raises InputError for a folder without any, and for results that are damaged.
    """
    evaluations: dict[Path, Evaluation] = {}
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
        for path in holding:
            if path.resolve() not in evaluations:
                evaluations[path.resolve()] = Evaluation(path, read_results(path))
    return list(evaluations.values())


def with_answers(evaluation: Evaluation) -> AnsweredEvaluation:
    """The evaluation with what was asked and answered; without any queries where the folder has no transcripts.

    Raises InputError for a line that is damaged or of a query that was there before, and where lines are missing.
    """
    file = evaluation.folder / TRANSCRIPTS
    if not file.is_file():
        return AnsweredEvaluation(evaluation, {})
    with_right_answers = {kind for rates in evaluation.results.defences.values() for kind in rates.benign_accuracy}
    queries = {}
    for record in read_transcripts(evaluation.folder):
        sample = JudgedSample(record.id, record.group, record.malicious, record.is_compared, Verdict.UNSCORED)
        # A reference may be a mere text to compare with, where no answer is right; earlier versions did not say so.
        if sample.kind not in with_right_answers:
            sample = replace(sample, has_reference=False)
        kept = record.answers.get(UNDEFENDED)
        if kept and (record.malicious or sample.has_reference or kept.verdict is not Verdict.ANSWERED):
            kept = None
        answers = {
            name: HashedAnswer(
                answer.verdict, hash(answer.text), Agreement.of(kept.text, answer.text).unchanged if kept else None
            )
            for name, answer in record.answers.items()
        }
        queries[record.id] = AnsweredQuery(record.group, record.question, sample.measures, answers)
    if len(queries) != (asked := evaluation.results.queries):
        raise InputError(f"{file} has {len(queries)} of {asked} queries. Run the evaluation again, or delete the file.")
    return AnsweredEvaluation(evaluation, queries)
