"""`davsp evaluate`: defences compared, on one set of queries or on published benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from davsp.cli import completion
from davsp.cli.config_files import ConfigFile
from davsp.cli.judge import JudgeModel, JudgeName, JudgeTemperature, JudgeTokens
from davsp.cli.options import (
    DATA_HELP,
    DEFENCE_HELP,
    DEFENCE_OPTION,
    TEST_SPLITS,
    TESTBED,
    Against,
    AsJson,
    BatchSize,
    BorderOn,
    Device,
    Dtype,
    MaxPixels,
    MinPixels,
    Out,
    Precision,
    Revision,
    Seed,
    ServedModelName,
    SkipBad,
    check_served_model,
    load_model,
    long_running,
    print_json,
    queries_of,
    say,
    warn,
)
from davsp.data.conversation import Role
from davsp.errors import InputError
from davsp.evaluation.bounds import MEASURES, Bound
from davsp.judges import load_judge
from davsp.judges.scoring import AUTO, RULES, check_scoring
from davsp.testbed.sources import draw_source, is_drawn
from davsp.util.provenance import reads

if TYPE_CHECKING:
    from davsp.benchmarks.selection import BenchmarkSelection
    from davsp.data.query import Query
    from davsp.defences.base import Defence
    from davsp.models.base import VisionLanguageModel
    from davsp.results import AttackFacts, Results

BEYOND_BOUNDS = 3
"""The status where a measure is beyond a bound that it was to be held to."""


@long_running
def evaluate(
    out: Out,
    names: Annotated[
        list[str] | None,
        typer.Option(*DEFENCE_OPTION, help=f"{DEFENCE_HELP} Repeatable.", autocompletion=completion.defences),
    ] = None,
    model: ServedModelName = TESTBED,
    data: Annotated[str | None, typer.Option("--data", "-d", help=f"{DATA_HELP} Default: testbed.")] = None,
    benchmarks: Annotated[
        list[str] | None,
        typer.Option(
            "--benchmark",
            help="Instead of --data, a published benchmark: NAME, NAME:VARIANT, NAME=FOLDER or NAME:VARIANT=FOLDER "
            "(`davsp benchmark list`). Repeatable: each has its own folder in --out.",
            autocompletion=completion.benchmarks,
        ),
    ] = None,
    attack: Annotated[
        str | None,
        typer.Option(
            help="Ask the queries as this attack rewrites them: NAME or NAME:OPTIONS, such as pgd:eps=8,steps=40 "
            "(`davsp attack`). They are kept in the folder `attack` of --out.",
            autocompletion=completion.attacks,
        ),
    ] = None,
    against: Against = None,
    per_group: Annotated[int | None, typer.Option(min=1, help="At most so many queries of each group.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Of each set, the first so many queries.")] = None,
    batch_size: BatchSize = 32,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 256,
    transfer: Annotated[
        bool, typer.Option("--transfer", help="Also take defences that were made for other models.")
    ] = False,
    thinking_tokens: Annotated[
        int,
        typer.Option(min=0, help="So many tokens more, for models that think before they answer."),
    ] = 0,
    scoring: Annotated[
        str,
        typer.Option(
            help="What makes the answer to a benign query right, unless its column `scoring` says: "
            + "; ".join(f"{name}: {what}" for name, what in RULES.items())
            + "."
        ),
    ] = AUTO,
    judge: JudgeName = "rules",
    judge_model: JudgeModel = None,
    judge_tokens: JudgeTokens = None,
    judge_temperature: JudgeTemperature = 0.0,
    resume: Annotated[
        bool,
        typer.Option(help="Keep the answers that an earlier run of the same command left in --out, or ask all again."),
    ] = True,
    border_on: BorderOn = None,
    min_pixels: MinPixels = None,
    max_pixels: MaxPixels = None,
    skip_bad: SkipBad = False,
    seed: Seed = 0,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = Precision.AUTO,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            help="MEASURE=BOUND, or DEFENCE:MEASURE=BOUND: end with status 3 where the measure is under the bound, or "
            f"is not measured, behind that defence or any but `none`. Measures: {', '.join(MEASURES)}. Repeatable."
        ),
    ] = None,
    fail_over: Annotated[
        list[str] | None, typer.Option(help="The same where the measure is over the bound. Repeatable.")
    ] = None,
    as_json: AsJson = False,
    config: ConfigFile = None,  # noqa: ARG001 - its callback sets the defaults of all others
) -> None:
    """Measure safety, usefulness and over-refusal, and what they cost, undefended and behind each defence.

    The same command goes on with a run that was stopped. Status: 0, 1 where behind a defence not one answer has a
    verdict, 2 for what cannot be run, 3 where a measure is beyond its bound.
    """
    from rich.console import Console

    from davsp import api
    from davsp.data.query import check_unique
    from davsp.defences import load_defence
    from davsp.defences.textual import Undefended
    from davsp.evaluation.plan import plan_of
    from davsp.models.served import is_served
    from davsp.report.comparison import write_comparison
    from davsp.report.rows import too_many_unscored
    from davsp.report.terminal import print_table
    from davsp.results import RESULTS
    from davsp.util.processes import processes

    if data and benchmarks:
        raise InputError("give either --data or --benchmark: each benchmark brings its own queries.")
    if benchmarks and (out / RESULTS).is_file():
        raise InputError(f"{out} holds an evaluation of other queries: give benchmarks a folder of their own.")
    if against and not attack:
        raise InputError("--against is what an attack knows: name the attack too (--attack).")
    check_scoring(scoring)
    bounds = [Bound.parse(text, is_least=True) for text in fail_under or []]
    bounds += [Bound.parse(text, is_least=False) for text in fail_over or []]
    served = is_served(model)
    if not served and (min_pixels or max_pixels):
        raise InputError("a loaded model brings its processor's own limits: leave out --min-pixels and --max-pixels.")
    judging = load_judge(judge, judge_model, tokens=judge_tokens, temperature=judge_temperature)
    defences = [
        load_defence(name).with_limits(min_pixels, max_pixels).on_images_of({Role.USER, *(border_on or [])})
        for name in names or []
    ]
    training = api.metrics_of(names or [], defences)
    if all(defence.kind != Undefended.kind for defence in defences):
        defences.insert(0, Undefended())
    compared = [defence.name for defence in defences]
    check_unique("defence name", compared)
    for bound in bounds:
        bound.check_defences(compared)
    if served:
        check_served_model(model, revision, () if transfer else defences)
    jobs = (
        [_of_benchmark(chosen, out, per_group, limit, seed) for chosen in _chosen(benchmarks)]
        if benchmarks
        else [_of_data(data or TESTBED, out, model, per_group, limit, seed, skip_bad)]
    )
    for job in jobs:
        rules = job.chosen.benchmark if job.chosen else None
        say(str(plan_of(job.title, job.queries, len(defences), judging, max_new_tokens, rules)))
    asked = model if served else _loaded(model, revision, device, dtype, () if transfer else defences)
    if attack:
        jobs = [_attacked(job, attack, against or [], None if isinstance(asked, str) else asked, seed) for job in jobs]

    warnings: list[str] = []
    measured: list[Results] = []
    empty = False
    for job in jobs:
        try:
            results = api.evaluate(
                asked,
                job.queries,
                defences,
                out=job.folder,
                title=f"{model}: {job.title}, {len(defences)} defences compared",
                training=training,
                batch_size=batch_size,
                max_new_tokens=max_new_tokens,
                thinking_tokens=thinking_tokens,
                scoring=scoring,
                seed=seed,
                judge=judging,
                benchmark=job.chosen,
                attack=job.attack,
                transfer=True,  # whether they are made for this model is checked above
                resume=resume,
            ).results
        except KeyboardInterrupt as stop:
            say(f"\nStopped. What was answered is kept in {out}: the same command goes on from there.")
            raise typer.Exit(130) from stop
        measured.append(results)
        if not as_json:
            print_table(results, Console())
        nothing = any(unscored == results.queries for unscored in results.unscored.values())
        reasons = results.remarks if nothing else ()
        warnings += [f"{job.title}: {line}" for line in (*reasons, *too_many_unscored(results))]
        empty = empty or nothing
        say(f"Report: {job.folder / 'report.html'}")
    if benchmarks and processes().is_main:
        say(f"All benchmarks: {write_comparison([out], out)}, and tables beside it")
    if as_json:
        print_json([results.to_json() for results in measured])
    for warning in warnings:
        warn(f"WARNING: {warning}")
    failures = [line for bound in bounds for line in bound.failures(measured)]
    for line in failures:
        warn(f"FAILED: {line}")
    if failures or empty:
        raise typer.Exit(BEYOND_BOUNDS if failures else 1)


@dataclass(frozen=True)
class _Job:
    """One set of queries to be asked, and where its results go."""

    title: str
    queries: Sequence[Query]
    folder: Path
    chosen: BenchmarkSelection | None = None
    attack: AttackFacts | None = None


def _chosen(names: Sequence[str]) -> list[BenchmarkSelection]:
    """The benchmarks of these names, each with what must be known of it said. Raises InputError for one named twice."""
    from davsp.benchmarks.selection import BenchmarkSelection

    for name in names:
        reads(name)
    found = [BenchmarkSelection.named(name) for name in names]
    keys = [chosen.key for chosen in found]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise InputError(f"the benchmark {twice} is asked for twice: both would have the same folder.")
    for chosen in found:
        for remark in chosen.remarks():
            say(remark)
    return found


def _of_benchmark(chosen: BenchmarkSelection, out: Path, per_group: int | None, limit: int | None, seed: int) -> _Job:
    from davsp.evaluation.plan import choose

    return _Job(chosen.title, choose(chosen.queries, per_group, limit, seed), out / chosen.key, chosen)


def _of_data(
    data: str, out: Path, model: str, per_group: int | None, limit: int | None, seed: int, skip_bad: bool
) -> _Job:
    from davsp.attacks.running import read_attack
    from davsp.evaluation.plan import choose

    if not is_drawn(data):
        queries = choose(queries_of(data, skip_bad, TEST_SPLITS), per_group, limit, seed)
        return _Job(data, queries, out, attack=read_attack(Path(data)))
    reads(data)
    return _Job(data, choose(draw_source(data, "test", per_group, seed, model), None, limit, seed), out)


def _attacked(job: _Job, name: str, against: Sequence[str], model: VisionLanguageModel | None, seed: int) -> _Job:
    """The job with its queries as an attack rewrites them."""
    from davsp.attacks import load_attack
    from davsp.attacks.running import run_attack, say_budget
    from davsp.defences import load_defence
    from davsp.training.run_state import Interrupted

    kind, options = load_attack(name)
    known = [load_defence(folder) for folder in against]
    try:
        found = run_attack(kind, options, job.queries, job.folder / "attack", model=model, against=known, seed=seed)
    except Interrupted as stop:
        say("\nStopped. What is attacked is kept: the same command goes on from there.")
        raise typer.Exit(130) from stop
    say(say_budget(found.facts))
    return replace(job, title=f"{job.title}, {found.facts}", queries=found.queries, attack=found.facts)


def _loaded(
    name: str, revision: str | None, device: str, dtype: Precision, defences: Sequence[Defence]
) -> VisionLanguageModel:
    """The loaded model, for which the defences were made."""
    loaded = load_model(name, revision, device, dtype)
    for defence in defences:
        defence.check(loaded)
    return loaded
