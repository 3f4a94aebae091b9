"""`davsp reproduce`: the paper's tables for a model of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from davsp.cli import completion
from davsp.cli.judge import JudgeModel, JudgeName, JudgeTemperature, JudgeTokens
from davsp.cli.options import (
    DEFENCE_HELP,
    DEFENCE_OPTION,
    TESTBED,
    AsJson,
    BatchSize,
    Device,
    Dtype,
    ModelName,
    Out,
    Precision,
    Revision,
    Seed,
    load_model,
    long_running,
    print_json,
    say,
)
from davsp.judges import load_judge
from davsp.util.provenance import reads


@long_running
def reproduce(
    table: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.tables,
            help="table1: resistance (MM-SafetyBench's three kinds, FigStep). table2: usefulness (MM-Vet, MME, "
            "LLaVA-Bench), for which a language model must judge.",
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            "-d",
            help="The folder that holds mm_safetybench, mm_vet, figstep, mme and llava_bench, each as published, and "
            "the corpora harmful.txt (UniGuard) and security.txt (ESIII), one sentence a line.",
        ),
    ],
    out: Out,
    model: ModelName = TESTBED,
    names: Annotated[
        list[str] | None,
        typer.Option(
            *DEFENCE_OPTION,
            help=f"Also compare this one. {DEFENCE_HELP} Repeatable.",
            autocompletion=completion.defences,
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="Leave one of the paper's out: adashield-s, adashield-a, pat, uniguard, esiii, davsp. Repeatable."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="An option of what is fitted or trained, after its name: pat.steps=50, davsp.layer=20, "
            "adashield-a.defender=openai/gpt-4o. Repeatable.",
        ),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="YAML file with the prompt's training options. Default: the paper's.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Of each benchmark, the first so many queries.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what data are missing, and what the run would cost.")
    ] = False,
    seconds_per_call: Annotated[
        float | None, typer.Option(min=0, help="For --dry-run: how long a call of the judge takes.")
    ] = None,
    price_per_hour: Annotated[
        float | None, typer.Option(min=0, help="For --dry-run: what this machine costs, in your currency.")
    ] = None,
    price_in: Annotated[
        float | None, typer.Option(min=0, help="For --dry-run: what a million tokens cost that the judge reads.")
    ] = None,
    price_out: Annotated[
        float | None, typer.Option(min=0, help="For --dry-run: the same of those that it writes.")
    ] = None,
    batch_size: BatchSize = 32,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 256,
    judge: JudgeName = "rules",
    judge_model: JudgeModel = None,
    judge_tokens: JudgeTokens = None,
    judge_temperature: JudgeTemperature = 0.0,
    seed: Seed = 0,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = Precision.AUTO,
    as_json: AsJson = False,
) -> None:
    """The paper's table for a model: train on its split, fit its baselines, evaluate, and print its figures beside.

    The same command goes on with a run that was stopped, and another table in the same folder uses what was made.
    """
    from davsp import reproduction
    from davsp import reproduction_cost as costs
    from davsp.report.collect import collect
    from davsp.training.config import read_config
    from davsp.training.recipes import read_recipe
    from davsp.training.run_state import Interrupted
    from davsp.util.processes import processes

    run = read_recipe(recipe) if recipe else None
    config = read_config(run.train, paper=run.paper).model_dump() | {"seed": seed} if run else None
    plan = reproduction.plan_reproduction(
        table, names or [], without or [], set_ or [], config=config, limit=limit, seed=seed
    )
    judging = load_judge(judge, judge_model, tokens=judge_tokens, temperature=judge_temperature)
    reads(str(data))
    read = reproduction.read_paper_data(data, plan)
    for remark in read.remarks:
        say(remark)
    if not dry_run:
        reproduction.check_complete(read)
    cost = costs.cost_of(plan, read, judging, max_new_tokens)
    if dry_run:
        if not read.missing:
            loaded = load_model(model, revision, device, dtype)
            seconds = costs.time_of(loaded, plan, read, batch_size, max_new_tokens)
            prices = costs.Prices(
                seconds_per_call=seconds_per_call,
                per_hour=price_per_hour,
                per_million_in=price_in,
                per_million_out=price_out,
            )
            cost |= {"device": str(loaded.device), "seconds": seconds, **costs.priced(cost, seconds, plan, prices)}
        print_json(cost)
        raise typer.Exit(1 if read.missing else 0)
    for evaluation in cost["evaluations"].values():
        say(evaluation["cost"])
    loaded = load_model(model, revision, device, dtype)
    try:
        page = reproduction.reproduce(
            loaded, plan, read, out, judging, batch_size=batch_size, max_new_tokens=max_new_tokens
        )
    except (Interrupted, KeyboardInterrupt) as stop:
        say(f"\nStopped. What was made is kept in {out}: the same command goes on from there.")
        raise typer.Exit(130) from stop
    say(f"Tables: {page.with_name('tables.md')}")
    if not as_json:
        print(page)
    elif processes().is_main:
        print_json([evaluation.results.to_json() for evaluation in collect([out])])
