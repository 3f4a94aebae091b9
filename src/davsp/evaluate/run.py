"""Compare defences on one model and one set of queries, and keep everything that a report needs."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from davsp import __version__
from davsp.data.digests import digest
from davsp.data.query import Query
from davsp.defences.base import Defence
from davsp.errors import InputError
from davsp.evaluate.plan import grading_model
from davsp.judges import Judge, Rules
from davsp.judges.rates import JudgedSample, summarise
from davsp.results import (
    AnswerRecord,
    BenchmarkFacts,
    Cost,
    JudgeFacts,
    Rates,
    Results,
    TranscriptRecord,
    Verdict,
    write_results,
    write_transcripts,
)
from davsp.util.files import make_folder
from davsp.util.processes import processes

if TYPE_CHECKING:
    from davsp.benchmarks.base import BenchmarkAnswer
    from davsp.benchmarks.figures import Scores
    from davsp.benchmarks.selection import BenchmarkSelection
    from davsp.evaluate.provider import LocalModel
    from davsp.evaluate.task import JudgedAnswer


def evaluate(
    model: LocalModel | str,
    defences: Sequence[Defence],
    queries: Sequence[Query],
    *,
    output: Path,
    batch_size: int = 16,
    max_new_tokens: int = 128,
    seed: int = 0,
    judge: Judge | None = None,
    benchmark: BenchmarkSelection | None = None,
    resume: bool = True,
    progress: bool = True,
) -> Results:
    """Ask the model every query behind every defence, judge the answers, write and return the results.

    `model` is a loaded model, or the name of any Inspect model, such as "openai/gpt-4o", or URL=NAME for one on an
    OpenAI-compatible server. `seed` is that by which the queries were chosen. `judge` says what harms and what refuses,
    by default davsp.judges.Rules. `benchmark` is that of the queries: its own rule says which answers are right, and
    its official scores are in the results.

    Into `output` go results.json (what is returned), transcripts.jsonl (a line for every query: the answer and the
    verdict behind every defence) and logs/, Inspect's own logs. An answer that is in a log there, for the same queries,
    model, settings, judge and defence, is not asked for again, unless `resume` is False; a model is told apart by name
    and revision, a defence by name and identity, a judge by all that its findings depend on.
    Every process of the run asks about its share of the queries, and the first writes.

    Raises InputError for queries or defences that cannot be compared, without Inspect, and for a benchmark that must
    be graded where the judge is no language model; ModelError when the evaluation as a whole fails. A sample that
    fails, or that the judge fails to judge, is counted as unscored and the reason is in the transcripts.
    """
    if importlib.util.find_spec("inspect_ai") is None:
        raise InputError("Evaluation needs Inspect, which is not installed. Run: pip install 'davsp[eval]'")
    from davsp.evaluate.media import to_sample
    from davsp.evaluate.served import inspect_model
    from davsp.evaluate.task import EvaluationRun, fingerprint

    judge = judge or Rules()
    if not queries:
        raise InputError("There are no queries to evaluate. Give at least one.")
    if not defences:
        raise InputError("There are no defences to evaluate. Give at least one, such as the undefended model.")
    rules = benchmark.benchmark if benchmark else None
    grader = grading_model(rules, judge)
    check_unique("defence name", [defence.name for defence in defences])
    check_unique("query id", [query.id for query in queries])
    asking = EvaluationRun(
        inspect_model(model, batch_size) if isinstance(model, str) else model,
        judge,
        make_folder(output / "logs"),
        batch_size,
        max_new_tokens,
        rules,
        grader,
        resume,
    )
    name = model if isinstance(model, str) else model.name
    settings = [
        name,
        str(getattr(model, "revision", None)),
        str(max_new_tokens),
        __version__,
        digest(queries),
        judge.identity,
        asking.identity,
    ]

    together = processes()
    share = together.shard(queries)
    samples = [to_sample(query) for query in share]
    answers: dict[str, dict[str, JudgedAnswer]] = {}
    seconds: dict[str, float] = {}
    shown = progress and together.is_main
    with _progress(shown, [defence.name for defence in defences], len(share)) as advance:
        for defence in defences:
            started = time.monotonic()
            key = "\n".join([*settings, str(together), defence.name, fingerprint(defence)])
            own = asking.answers_behind(
                defence, samples, key=hashlib.sha256(key.encode()).hexdigest(), answered=advance[defence.name]
            )
            said = together.all_gather([own[query.id] for query in share])
            answers[defence.name] = {query.id: answer for query, answer in zip(queries, said, strict=True)}
            seconds[defence.name] = round(time.monotonic() - started, 2)

    scores = _official_scores(benchmark, queries, answers) if benchmark else {}
    results = Results(
        model=name,
        seed=seed,
        queries=len(queries),
        max_new_tokens=max_new_tokens,
        judge=JudgeFacts(name=judge.name, model=judge.model_name),
        defences={name: _rates(queries, given) for name, given in answers.items()},
        unscored={name: _unscored(given) for name, given in answers.items()},
        cost={name: _cost(list(given.values())) for name, given in answers.items()},
        seconds=seconds,
        versions=_versions(),
        benchmark=_facts(benchmark, scores) if benchmark else None,
        scores={name: dict(found.figures) for name, found in scores.items()},
    )
    if together.is_main:
        write_transcripts(output, _transcripts(queries, answers))
        write_results(output, results)
    return results


def check_unique(what: str, names: Sequence[str]) -> None:
    """Raise InputError for the first name that occurs twice. `what` says what they name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"The {what} {name!r} occurs twice. Rename one of the two.")
        seen.add(name)


def _rates(queries: Sequence[Query], answers: Mapping[str, JudgedAnswer]) -> Rates:
    return summarise(
        JudgedSample(q.id, q.group, q.malicious, q.answer is not None, answers[q.id].verdict) for q in queries
    )


def _official_scores(
    chosen: BenchmarkSelection, queries: Sequence[Query], answers: Mapping[str, Mapping[str, JudgedAnswer]]
) -> dict[str, Scores]:
    """The benchmark's official scores of the answers that could be judged, by defence; {} where it has none."""
    official = chosen.benchmark.official
    return {name: official(_scorable(queries, given)) for name, given in answers.items()} if official else {}


def _facts(chosen: BenchmarkSelection, scores: Mapping[str, Scores]) -> BenchmarkFacts:
    """What the benchmark is, with what is out of the ordinary in the scores of each defence."""
    remarks = tuple(f"{name}: {note}" for name, found in scores.items() for note in found.notes)
    return chosen.facts.model_copy(update={"notes": chosen.facts.notes + remarks})


def _scorable(queries: Sequence[Query], answers: Mapping[str, JudgedAnswer]) -> list[BenchmarkAnswer]:
    from davsp.benchmarks.base import BenchmarkAnswer

    return [
        BenchmarkAnswer(
            q.group, q.answer or "", answers[q.id].text, q.metadata.get("image_name", ""), answers[q.id].marks
        )
        for q in queries
        if answers[q.id].verdict is not Verdict.UNSCORED
    ]


def _unscored(answers: Mapping[str, JudgedAnswer]) -> int:
    return sum(answer.verdict is Verdict.UNSCORED for answer in answers.values())


def _cost(answers: Sequence[JudgedAnswer]) -> Cost:
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


def _transcripts(
    queries: Sequence[Query], answers: Mapping[str, Mapping[str, JudgedAnswer]]
) -> Iterator[TranscriptRecord]:
    for query in queries:
        given = {name: by_id[query.id] for name, by_id in answers.items()}
        yield TranscriptRecord(
            id=query.id,
            group=query.group,
            malicious=query.malicious,
            question=query.question,
            reference=query.answer or query.metadata.get("reference"),
            answers={n: AnswerRecord(text=a.text, verdict=a.verdict, error=a.error) for n, a in given.items()},
        )


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("inspect_ai", "torch", "transformers")}
    return {"python": platform.python_version(), "davsp": __version__, **packages}


@contextmanager
def _progress(shown: bool, names: Sequence[str], total: int) -> Iterator[dict[str, Callable[[], None]]]:
    """A bar for every defence on stderr; gives the functions that move them."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bars:
        tasks = {name: bars.add_task(name, total=total) for name in names}
        yield {name: partial(bars.advance, bar) for name, bar in tasks.items()}
