"""What the answers of an evaluation amount to: rates, official scores, costs and transcripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING

from davsp.data.query import REFERENCE, Query
from davsp.judges.rates import JudgedSample, summarise
from davsp.judges.unchanged import Agreement
from davsp.rates import Cost, Rate, Rates, Verdict
from davsp.results import AnswerRecord, BenchmarkFacts, TranscriptRecord

if TYPE_CHECKING:
    from davsp.benchmarks.base import BenchmarkAnswer
    from davsp.benchmarks.figures import Scores
    from davsp.benchmarks.selection import BenchmarkSelection
    from davsp.evaluation.answers import JudgedAnswer


def rates(
    queries: Sequence[Query], answers: Mapping[str, JudgedAnswer], undefended: Mapping[str, JudgedAnswer] | None = None
) -> Rates:
    """Rates of the verdicts, by measure and by group.

    Benign queries without a reference answer are compared with the `undefended` answers, where there are any; those
    that the undefended model refuses or fails to answer have nothing to be kept.
    """

    def agreement(query: Query) -> Agreement | None:
        if undefended is None or query.malicious or query.answer is not None:
            return None
        kept = undefended[query.id]
        return Agreement.of(kept.text, answers[query.id].text) if kept.verdict is Verdict.ANSWERED else None

    return summarise(
        JudgedSample(q.id, q.group, q.malicious, q.answer is not None, answers[q.id].verdict, agreement(q))
        for q in queries
    )


def official_scores(
    chosen: BenchmarkSelection, queries: Sequence[Query], answers: Mapping[str, Mapping[str, JudgedAnswer]]
) -> dict[str, Scores]:
    """The benchmark's official scores of the answers that could be judged, by defence; {} where it has none."""
    official = chosen.benchmark.official
    return {name: official(_scorable(queries, given)) for name, given in answers.items()} if official else {}


def benchmark_facts(chosen: BenchmarkSelection, scores: Mapping[str, Scores]) -> BenchmarkFacts:
    """What the benchmark is, with what is out of the ordinary in the scores of each defence."""
    remarks = tuple(f"{name}: {note}" for name, official in scores.items() for note in official.notes)
    return chosen.facts.model_copy(update={"notes": chosen.facts.notes + remarks})


def _scorable(queries: Sequence[Query], answers: Mapping[str, JudgedAnswer]) -> list[BenchmarkAnswer]:
    from davsp.benchmarks.base import BenchmarkAnswer

    return [
        BenchmarkAnswer(
            q.group, q.answer or "", answers[q.id].text, q.metadata.get("image_name", ""), answers[q.id].marks
        )
        for q in queries
        if answers[q.id].verdict is not Verdict.UNSCORED and not any(map(isnan, answers[q.id].marks.values()))
    ]


def unscored(answers: Mapping[str, JudgedAnswer]) -> int:
    """How many queries have no verdict."""
    return sum(answer.verdict is Verdict.UNSCORED for answer in answers.values())


def nothing_scored(answers: Mapping[str, Mapping[str, JudgedAnswer]]) -> Iterator[str]:
    """A line for each defence behind which no answer has a verdict, with the reason that the first gives."""
    for name, given in answers.items():
        if unscored(given) == len(given):
            first = next(iter(given.values()))
            yield f"{name}: not one of {len(given)} answers has a verdict; of the first: {first.error}"


def unfamiliar(queries: Sequence[Query], answers: Mapping[str, Mapping[str, JudgedAnswer]]) -> Iterator[str]:
    """A line for each defence that looked for queries of kinds that it does not know, and found some."""
    for name, given in answers.items():
        found = [query.group for query in queries if given[query.id].unfamiliar]
        told = sum(answer.unfamiliar is not None for answer in given.values())
        if found:
            share = Rate.of(len(found), told).in_percent(sign=" %")
            groups = ", ".join(f"{group or 'query'} {count}" for group, count in Counter(found).most_common())
            yield (
                f"{name}: {len(found)} of {told} queries, {share}, look like none of the kinds that it was fitted to "
                f"({groups}): what it promises is not of these."
            )


def alarms(queries: Sequence[Query], answers: Mapping[str, Mapping[str, JudgedAnswer]]) -> Iterator[str]:
    """A line for each defence that has an alarm: for how many of the queries that it read it was raised, by side."""
    for name, given in answers.items():
        parts = []
        for side, malicious in (("malicious", True), ("benign", False)):
            own = [given[query.id].alarm for query in queries if query.malicious is malicious]
            told = [raised for raised in own if raised is not None]
            if share := Rate.of(sum(told), len(told)).in_percent(sign=" %"):
                parts.append(f"{sum(told)} of {len(told)} {side} queries, {share}")
        if parts:
            yield f"{name}: the alarm was raised for {', and for '.join(parts)}."


def cost(answers: Sequence[JudgedAnswer]) -> Cost:
    """Means over the `n` queries that were answered: calls of the model, its tokens, calls of helper models.

    `seconds` is the time in which at least one of them was in work, over n: what a query costs while as many are in
    work at a time as were here. None where nothing was answered, or tokens are not told.
    """
    costs = [answer.cost for answer in answers if answer.cost and answer.span]
    spans = [answer.span for answer in answers if answer.cost and answer.span]
    return Cost(
        n=len(costs),
        calls=_mean([cost.calls for cost in costs]),
        input_tokens=_mean([cost.input_tokens for cost in costs]),
        output_tokens=_mean([cost.output_tokens for cost in costs]),
        helper_calls=_mean([cost.helper_calls for cost in costs]),
        seconds=round(_busy(spans) / len(spans), 4) if spans else None,
    )


def _mean(values: Sequence[int | None]) -> float | None:
    """To three decimals; None of nothing, and where one of them is not told."""
    told = [value for value in values if value is not None]
    return round(sum(told) / len(told), 3) if told and len(told) == len(values) else None


def _busy(spans: Sequence[tuple[float, float]]) -> float:
    """Seconds that lie in at least one of the spans: a pause between two runs does not count."""
    seconds, until = 0.0, 0.0
    for began, ended in sorted(spans):
        seconds += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return seconds


def transcripts(
    queries: Sequence[Query], answers: Mapping[str, Mapping[str, JudgedAnswer]]
) -> Iterator[TranscriptRecord]:
    """A record for every query, with its answers behind all defences."""
    for query in queries:
        given = {name: by_id[query.id] for name, by_id in answers.items()}
        yield TranscriptRecord(
            id=query.id,
            group=query.group,
            malicious=query.malicious,
            question=query.as_text,
            reference=query.answer or query.metadata.get(REFERENCE),
            scoring=query.scoring,
            answers={n: AnswerRecord(text=a.text, verdict=a.verdict, error=a.error) for n, a in given.items()},
        )
