"""Compare defences on one model and one set of queries, and keep everything that a report needs."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from davsp import __version__
from davsp.data.digests import digest
from davsp.data.query import Query
from davsp.defences.base import AnyDefence
from davsp.errors import InputError
from davsp.evaluate.plan import grader_for
from davsp.judges import Judge, Rules
from davsp.judges.rates import JudgedSample, Verdict, summarise
from davsp.util.files import make_folder, write_json, write_text
from davsp.util.processes import processes

if TYPE_CHECKING:
    from davsp.benchmarks.base import BenchmarkAnswer
    from davsp.benchmarks.selection import BenchmarkSelection
    from davsp.evaluate.answers import JudgedAnswer
    from davsp.evaluate.batching import LocalModel


def evaluate(
    model: LocalModel | str,
    defences: Sequence[AnyDefence],
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
) -> dict[str, Any]:
    """Ask the model every query behind every defence, judge the answers, write and return the results.

    `model` is a loaded model, or the name of any Inspect model, such as "openai/gpt-4o", or URL=NAME for one on an
    OpenAI-compatible server. `seed` is that by which the queries were chosen. `judge` says what harms and what refuses,
    by default davsp.judges.Rules. `benchmark` is that of the queries: its own rule says which answers are right, and
    its official scores are in the results.

    Into `output` go results.json (what is returned), transcripts.jsonl (a line for every query: the answer and the
    verdict behind every defence) and logs/, Inspect's own logs. An answer that is in a log there, for the same queries,
    model, settings, judge and defence, is not asked for again, unless `resume` is False; a model is told apart by name
    and revision, a defence by name and by what it does to a plain image, a judge by all that its findings depend on.
    Every process of the run asks about its share of the queries, and the first writes.

    Raises InputError for queries or defences that cannot be compared, without Inspect, and for a benchmark that must
    be graded where the judge is no language model; ModelError when the evaluation as a whole fails. A sample that
    fails, or that the judge fails to judge, is counted as unscored and the reason is in the transcripts.
    """
    if importlib.util.find_spec("inspect_ai") is None:
        raise InputError("Evaluation needs Inspect, which is not installed. Run: pip install 'davsp[eval]'")
    from davsp.evaluate.evaluated import InspectModel, LoadedModel
    from davsp.evaluate.task import EvaluationRun, fingerprint

    judge = judge or Rules()
    if not queries:
        raise InputError("There are no queries to evaluate. Give at least one.")
    rules = benchmark.benchmark if benchmark else None
    grader = grader_for(rules, judge)
    check_unique("defence name", [defence.name for defence in defences])
    check_unique("query id", [query.id for query in queries])
    together = processes()
    share = together.shard(queries)
    evaluated = (
        InspectModel(model, batch_size)
        if isinstance(model, str)
        else LoadedModel(model, share, batch_size, max_new_tokens)
    )
    run = EvaluationRun(
        evaluated, judge, make_folder(output / "logs"), batch_size, max_new_tokens, rules, grader, resume
    )
    settings = [
        evaluated.name,
        str(evaluated.revision),
        str(max_new_tokens),
        __version__,
        digest(queries),
        judge.identity,
        run.identity,
    ]
    answers: dict[str, dict[str, JudgedAnswer]] = {}
    seconds: dict[str, float] = {}
    shown = progress and together.is_main
    with _progress(shown, [defence.name for defence in defences], len(share)) as advance:
        for defence in defences:
            started = time.monotonic()
            key = "\n".join([*settings, str(together), defence.name, fingerprint(defence)])
            own = run.answers_behind(
                defence, share, key=hashlib.sha256(key.encode()).hexdigest(), answered=advance[defence.name]
            )
            gathered = together.all_gather([own[query.id] for query in share])
            answers[defence.name] = {query.id: answer for query, answer in zip(queries, gathered, strict=True)}
            seconds[defence.name] = round(time.monotonic() - started, 2)

    results = {
        "model": evaluated.name,
        "seed": seed,
        "queries": len(queries),
        "max_new_tokens": max_new_tokens,
        "judge": {"name": judge.name, "model": judge.model_name},
        "defences": {name: _rates(queries, found) for name, found in answers.items()},
        "unscored": {name: _unscored(found) for name, found in answers.items()},
        "cost": {name: _cost(list(found.values())) for name, found in answers.items()},
        "seconds": seconds,
        "versions": _versions(),
    }
    if benchmark:
        results |= _of_benchmark(benchmark, queries, answers)
    if together.is_main:
        write_text(output / "transcripts.jsonl", "".join(f"{line}\n" for line in _transcripts(queries, answers)))
        write_json(output / "results.json", results)
    return results


def check_unique(what: str, names: Sequence[str]) -> None:
    """Raise InputError for the first name that occurs twice. `what` says what they name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"The {what} {name!r} occurs twice. Rename one of the two.")
        seen.add(name)


def _rates(queries: Sequence[Query], answers: Mapping[str, JudgedAnswer]) -> dict[str, dict[str, Any]]:
    judged = [JudgedSample(q.id, q.group, q.malicious, q.answer is not None, answers[q.id].verdict) for q in queries]
    return {table: {kind: r.to_json() for kind, r in rates.items()} for table, rates in summarise(judged).items()}


def _of_benchmark(
    chosen: BenchmarkSelection, queries: Sequence[Query], answers: Mapping[str, Mapping[str, JudgedAnswer]]
) -> dict[str, Any]:
    """What it is, and its official scores of the answers that could be judged."""
    told = chosen.to_json()
    official = chosen.benchmark.official
    scores = {name: official(_said(queries, found)) for name, found in answers.items()} if official else {}
    told["notes"] += [f"{name}: {note}" for name, found in scores.items() for note in found.notes]
    figures = {name: {key: f.to_json() for key, f in found.figures.items()} for name, found in scores.items()}
    return {"benchmark": told, "scores": figures}


def _said(queries: Sequence[Query], answers: Mapping[str, JudgedAnswer]) -> list[BenchmarkAnswer]:
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


def _cost(answers: Sequence[JudgedAnswer]) -> dict[str, float | int | None]:
    """Means over the `n` queries that were answered: calls of the model, its tokens, calls of helper models.

    `seconds` is the time in which at least one of them was in work, over n: what a query costs while as many are in
    work at a time as were here. None where nothing was answered, or tokens are not told.
    """
    spent = [(answer.cost, answer.span) for answer in answers if answer.cost and answer.span]
    n = len(spent)
    means: dict[str, float | int | None] = {"n": n}
    for name in ("calls", "input_tokens", "output_tokens", "helper_calls"):
        values = [getattr(cost, name) for cost, _ in spent]
        means[name] = None if not n or None in values else round(sum(values) / n, 3)
    means["seconds"] = round(_busy([span for _, span in spent]) / n, 4) if n else None
    return means


def _busy(spans: Sequence[tuple[float, float]]) -> float:
    """Seconds that lie in at least one of the spans: a pause between two runs does not count."""
    seconds, until = 0.0, 0.0
    for began, ended in sorted(spans):
        seconds += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return seconds


def _transcripts(queries: Sequence[Query], answers: Mapping[str, Mapping[str, JudgedAnswer]]) -> Iterator[str]:
    for query in queries:
        said = {name: found[query.id] for name, found in answers.items()}
        record = {
            "id": query.id,
            "group": query.group,
            "malicious": query.malicious,
            "question": query.question,
            "reference": query.answer or query.metadata.get("reference"),
            "answers": {n: {"text": a.text, "verdict": a.verdict.value, "error": a.error} for n, a in said.items()},
        }
        yield json.dumps(record, ensure_ascii=False)


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
