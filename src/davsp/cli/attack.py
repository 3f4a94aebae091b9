"""`davsp attack`: queries rewritten so that a model does what it should refuse."""

from __future__ import annotations

from typing import Annotated

import typer

from davsp.attacks import ATTACKS
from davsp.cli import completion
from davsp.cli.options import (
    TEST_SPLITS,
    TESTBED,
    Against,
    BatchSize,
    Data,
    Device,
    Dtype,
    ModelName,
    Out,
    Precision,
    Revision,
    Seed,
    SkipBad,
    load_model,
    long_running,
    queries_of,
    say,
)
from davsp.testbed.sources import draw_source, is_drawn
from davsp.util.provenance import reads


@long_running
def attack(
    name: Annotated[
        str,
        typer.Argument(
            help=f"Which attack: {', '.join(ATTACKS.names())}; docs/attacks.md says what each is.",
            autocompletion=completion.attacks,
        ),
    ],
    out: Out,
    model: ModelName = TESTBED,
    data: Data = None,
    against: Against = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One option: eps=8. Repeatable.")] = None,
    options: Annotated[bool, typer.Option("--options", help="Print the attack's options and stop.")] = False,
    per_group: Annotated[int | None, typer.Option(min=1, help="At most so many queries of each group.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many queries.")] = None,
    batch_size: BatchSize = 16,
    seed: Seed = 0,
    skip_bad: SkipBad = False,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = Precision.AUTO,
) -> None:
    """Rewrite queries so that a model does what it should refuse, into a folder that `davsp evaluate --data` reads.

    Attacks that read the model rewrite malicious queries alone; the others know nothing of it, and rewrite all. The
    same command goes on with a run that was stopped.
    """
    from davsp.attacks import load_attack
    from davsp.attacks.running import attacked_by, run_attack, say_budget
    from davsp.defences import load_defence
    from davsp.evaluation.plan import choose
    from davsp.training.run_state import Interrupted

    if options:
        from rich.console import Console

        from davsp.util.options import options_table

        Console().print(options_table(ATTACKS.get(name).Options, ATTACKS.get(name).about))
        return
    kind, chosen = load_attack(name, set_ or [])
    defences = [load_defence(folder) for folder in against or []]
    source = data or TESTBED
    if is_drawn(source):
        reads(source)
        read = draw_source(source, "test", per_group, seed, model)
    else:
        read = queries_of(source, skip_bad, TEST_SPLITS)
    queries = choose(attacked_by(kind, read), per_group, limit, seed)
    loaded = load_model(model, revision, device, dtype) if kind.reads_model else None
    try:
        found = run_attack(kind, chosen, queries, out, model=loaded, against=defences, batch_size=batch_size, seed=seed)
    except Interrupted as stop:
        say("\nStopped. What is done is kept: the same command goes on from there.")
        raise typer.Exit(130) from stop
    if kind.reads_model and any(not query.malicious for query in read):
        say("Benign queries are left out: this attack is for malicious ones.")
    say(say_budget(found.facts))
    print(out)
