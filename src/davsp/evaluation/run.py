"""Compare defences on one model and one set of queries, and keep everything that a report needs."""

from __future__ import annotations

import hashlib
import importlib.util
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from davsp import __version__
from davsp.data.digests import digest
from davsp.data.query import Query, check_unique
from davsp.defences.base import Defence
from davsp.errors import InputError
from davsp.evaluation.plan import grading_model
from davsp.evaluation.scoring import with_scoring
from davsp.evaluation.summary import (
    alarms,
    benchmark_facts,
    cost,
    nothing_scored,
    official_scores,
    rates,
    transcripts,
    unfamiliar,
    unscored,
)
from davsp.judges import Judge, Rules
from davsp.judges.scoring import AUTO
from davsp.results import (
    RESULTS,
    UNDEFENDED,
    AttackFacts,
    JudgeFacts,
    Results,
    read_results,
    write_results,
    write_transcripts,
)
from davsp.util.code import code_digest
from davsp.util.files import make_folder
from davsp.util.processes import processes
from davsp.util.progress import bars
from davsp.util.provenance import Provenance, versions_used

if TYPE_CHECKING:
    from davsp.benchmarks.selection import BenchmarkSelection
    from davsp.evaluation.answers import JudgedAnswer
    from davsp.evaluation.batching import LocalModel


def evaluate(
    model: LocalModel | str,
    defences: Sequence[Defence],
    queries: Sequence[Query],
    *,
    output: Path,
    batch_size: int = 16,
    max_new_tokens: int = 128,
    thinking_tokens: int = 0,
    scoring: str = AUTO,
    seed: int = 0,
    judge: Judge | None = None,
    benchmark: BenchmarkSelection | None = None,
    attack: AttackFacts | None = None,
    resume: bool = True,
    progress: bool = True,
) -> Results:
    """Ask the model every query behind every defence, judge the answers, write and return the results.

    `model` is a loaded model, or the name of any Inspect model, such as "openai/gpt-4o", or URL=NAME for one on an
    OpenAI-compatible server. A model that thinks may write `thinking_tokens` more than `max_new_tokens`. `scoring` is
    the rule by which answers are right, of queries that name none of their own (davsp.judges.scoring). `seed` is that
    by which the queries were chosen. `judge` says what harms and what refuses, by default davsp.judges.Rules.
    Where the undefended model is among the defences, answers to benign queries without a reference answer are compared
    with its own.
    `attack` is the one that rewrote the queries, which is told in the results.
    `benchmark` is that of the queries: its own rule says which answers are right, and its official scores are in the
    results.

    Into `output` go results.json (what is returned), transcripts.jsonl (a line for every query: the answer and the
    verdict behind every defence) and logs/, Inspect's own logs. An answer that is in a log there, for the same queries,
    model, settings, judge and defence, is not asked for again, unless `resume` is False. A loaded model is told apart
    by its content (weights, processor, templates, settings), one on a server by its name, a defence by name and
    identity, a judge by all that its findings depend on, and davsp by its own code.
    Every process of the run asks about its share of the queries, and the first writes.

    Raises InputError where `output` holds an evaluation of other queries, for queries or defences that cannot be
    compared, a rule that there is not or a reference that it cannot use, without Inspect, and for what must be graded
    where the judge is no language model; ModelError when the evaluation as a whole fails. A sample that fails, or that
    the judge fails to judge, is counted as unscored and the reason is in the transcripts; where that is so of all
    behind a defence, the results' remarks say so too.
    """
    if importlib.util.find_spec("inspect_ai") is None:
        raise InputError("Evaluation needs Inspect, which is not installed. Run: pip install 'davsp[eval]'")
    from davsp.evaluation.evaluated import InspectModel, LoadedModel
    from davsp.evaluation.task import EvaluationRun

    judge = judge or Rules()
    if not queries:
        raise InputError("There are no queries to evaluate. Give at least one.")
    if not defences:
        raise InputError("There are no defences to evaluate. Give at least one, such as the undefended model.")
    rules = benchmark.benchmark if benchmark else None
    grader = grading_model(rules, judge)
    check_unique("defence name", [defence.name for defence in defences])
    check_unique("query id", [query.id for query in queries])
    data = digest(queries)
    scored = with_scoring(queries, scoring, judge, rules)
    queries = scored.queries
    check_same_queries(output, data)
    together = processes()
    share = together.shard(queries)
    evaluated = (
        InspectModel(model, batch_size, thinking_tokens)
        if isinstance(model, str)
        else LoadedModel(model, share, batch_size, max_new_tokens, thinking_tokens)
    )
    limit = max_new_tokens + thinking_tokens
    versions = versions_used() | {"inspect_ai": version("inspect_ai")}
    run = EvaluationRun(evaluated, judge, make_folder(output / "logs"), batch_size, limit, rules, grader, resume)
    settings = [
        evaluated.name,
        evaluated.identity,
        f"{max_new_tokens} {thinking_tokens}",
        scored.identity,
        __version__,
        code_digest(),
        f"{evaluated.device} {versions}",
        data,
        judge.identity,
        run.identity,
    ]
    answers: dict[str, dict[str, JudgedAnswer]] = {}
    seconds: dict[str, float] = {}
    with bars([defence.name for defence in defences], len(share), quiet=not progress) as advance:
        for defence in defences:
            started = time.monotonic()
            key = "\n".join([*settings, str(together), defence.name, defence.identity])
            own = run.answers_behind(
                defence, share, key=hashlib.sha256(key.encode()).hexdigest(), answered=advance[defence.name]
            )
            gathered = together.all_gather([own[query.id] for query in share])
            answers[defence.name] = {query.id: answer for query, answer in zip(queries, gathered, strict=True)}
            seconds[defence.name] = round(time.monotonic() - started, 2)

    scores = official_scores(benchmark, queries, answers) if benchmark else {}
    undefended = answers.get(UNDEFENDED)
    attacked = [f"The queries are those of an attack: {attack}."] if attack else []
    results = Results(
        model=evaluated.name,
        model_identity=evaluated.identity,
        device=evaluated.device,
        dtype=evaluated.dtype,
        seed=seed,
        queries=len(queries),
        data=data,
        max_new_tokens=max_new_tokens,
        thinking_tokens=thinking_tokens,
        judge=JudgeFacts(name=judge.name, model=judge.model_name),
        judge_identity=hashlib.sha256(judge.identity.encode()).hexdigest()[:16],
        defences={name: rates(queries, given, undefended) for name, given in answers.items()},
        identities={defence.name: hashlib.sha256(defence.identity.encode()).hexdigest()[:16] for defence in defences},
        unscored={name: unscored(given) for name, given in answers.items()},
        cost={name: cost(list(given.values())) for name, given in answers.items()},
        scoring=scored.rules,
        remarks=(
            *attacked,
            *scored.remarks,
            *evaluated.remarks,
            *unfamiliar(queries, answers),
            *alarms(queries, answers),
            *nothing_scored(answers),
        ),
        seconds=seconds,
        versions=versions,
        provenance=Provenance.now(),
        attack=attack,
        benchmark=benchmark_facts(benchmark, scores) if benchmark else None,
        scores={name: dict(official.figures) for name, official in scores.items()},
    )
    if together.is_main:
        write_transcripts(output, transcripts(queries, answers))
        write_results(output, results)
    return results


def check_same_queries(folder: Path, data: str) -> None:
    """Raise InputError where a folder holds a finished evaluation of other queries, which would be lost."""
    if not (folder / RESULTS).is_file():
        return
    finished = read_results(folder).data
    if finished is not None and finished != data:
        raise InputError(
            f"{folder} holds a finished evaluation of other queries: choose another output folder, or delete this one."
        )
