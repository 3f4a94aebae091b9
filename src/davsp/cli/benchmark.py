"""`davsp benchmark`: what the published benchmarks are, hold and score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from davsp.cli import completion
from davsp.cli.options import AsJson, Seed, long_running, print_json, say
from davsp.errors import InputError

if TYPE_CHECKING:
    from davsp.benchmarks.base import Benchmark
    from davsp.rates import Figure

benchmark_app = typer.Typer(help="Published benchmarks: list, load and score them.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(help="A benchmark, as `davsp benchmark list` names it.", autocompletion=completion.benchmark_names),
]
DROPPED_SHOWN = 5


@benchmark_app.command(name="list")
def list_benchmarks(as_json: AsJson = False) -> None:
    """What there is, of what size, under which licence, and where on the hub."""
    from rich.table import Table

    from davsp.benchmarks import every_benchmark

    if as_json:
        print_json([_facts(benchmark) for benchmark in every_benchmark()])
        return
    table = Table("name", "purpose", "variant: queries", "licence", "hub")
    for benchmark in every_benchmark():
        # Further parts of a variant, such as SD-tiny, are named by `show`.
        sizes = "\n".join(f"{name}: {v.queries}" for name, v in benchmark.variants.items() if "-" not in name)
        table.add_row(benchmark.name, benchmark.purpose, sizes, benchmark.licence, _hub(benchmark))
    _print(table)


@benchmark_app.command()
def show(
    name: Name,
    folder: Annotated[
        Path | None, typer.Argument(help="Its folder, in the published layout; default: from the hub.")
    ] = None,
    variant: Annotated[str | None, typer.Option(help="A part of it; default: the usual one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Load a benchmark: queries by group, what was dropped and why, what differs from the published counts."""
    from rich.markup import escape
    from rich.table import Table

    from davsp.benchmarks import BENCHMARKS

    benchmark = BENCHMARKS.get(name)
    chosen, published = benchmark.variant(variant)
    loaded = benchmark.load(folder, chosen)
    if as_json:
        found = {
            "variant": chosen,
            "queries": len(loaded.queries),
            "published": published.queries,
            "groups": loaded.groups(),
            "dropped": list(loaded.dropped),
            "notes": list(loaded.notes),
        }
        print_json(_facts(benchmark) | found)
        return
    print(f"{benchmark.title}, {chosen}: {published.what}")
    table = Table("group", "queries", "published")
    counts = loaded.groups()
    for group in dict.fromkeys([*published.groups, *counts]):
        table.add_row(escape(group), str(counts.get(group, 0)), str(published.groups.get(group, "")))
    table.add_row("all", str(len(loaded.queries)), str(published.queries), style="bold")
    _print(table)
    print(f"Variants: {', '.join(benchmark.variants)}")
    print(f"Licence:  {benchmark.licence}\nCite:     {benchmark.citation}\nContent:  {benchmark.content}")
    print(f"Dropped:  {len(loaded.dropped)}")
    for line in loaded.dropped[:DROPPED_SHOWN]:
        print(f"  {line}")
    if len(loaded.dropped) > DROPPED_SHOWN:
        print(f"  ... and {len(loaded.dropped) - DROPPED_SHOWN} more (--json names them all)")


@benchmark_app.command()
def score(
    name: Name,
    path: Annotated[Path, typer.Argument(help="A published answer file, or a folder of them.")],
    folder: Annotated[
        Path | None, typer.Option("--folder", help="The benchmark's own folder, where answers alone do not say all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The official score of published answers, without any model."""
    from rich.markup import escape
    from rich.table import Table

    from davsp.benchmarks import BENCHMARKS, every_benchmark

    benchmark = BENCHMARKS.get(name)
    if benchmark.score is None:
        scored = ", ".join(other.name for other in every_benchmark() if other.score)
        raise InputError(f"{benchmark.title} has no score without a model or a judge. These have one: {scored}.")
    for given in (path, folder):
        if given is not None and not given.exists():
            raise InputError(f"{given}: no such file or folder. Check the path.")
    answers = benchmark.score(path, folder)
    if as_json:
        print_json({"benchmark": benchmark.name, "answers": [scores.to_json() for scores in answers]})
        return
    for scores in answers:
        print(f"{benchmark.title}: {scores.name}")
        table = Table("figure", "value", "95 % interval", "n")
        for key, figure in scores.figures.items():
            value = f"{scores.printed(key):.{scores.decimals}f}"
            table.add_row(escape(key), value, _interval(figure, scores.decimals), str(figure.n))
        _print(table)
        for note in scores.notes:
            say(f"{scores.name}: {note}")


@benchmark_app.command()
@long_running
def export(
    name: Annotated[
        str,
        typer.Argument(
            help="A benchmark: NAME, NAME:VARIANT, NAME=FOLDER or NAME:VARIANT=FOLDER.",
            autocompletion=completion.benchmarks,
        ),
    ],
    out: Annotated[Path, typer.Argument(help="A new folder, for `davsp train --data`.")],
    seed: Seed = 0,
) -> None:
    """Write a benchmark's queries and images as a folder to train on, one in five of them to validate on.

    Its licence holds for the copy too, and is written beside it.
    """
    from davsp.api import HELD_OUT
    from davsp.benchmarks.export import export as write
    from davsp.benchmarks.training import select_for_training, training_remarks

    [chosen] = select_for_training([name])
    for remark in training_remarks(chosen):
        say(remark)
    write(chosen, out, HELD_OUT, seed)
    print(out)


def _facts(benchmark: Benchmark) -> dict[str, Any]:
    """What is known of a benchmark without its files."""
    return {
        "name": benchmark.name,
        "title": benchmark.title,
        "variants": {name: variant.queries for name, variant in benchmark.variants.items()},
        "purpose": benchmark.purpose,
        "licence": benchmark.licence,
        "citation": benchmark.citation,
        "content": benchmark.content,
        "source": benchmark.source,
        "hub": benchmark.hub.id if benchmark.hub else None,
        "trainable": not benchmark.untrainable,
    }


def _interval(figure: Figure, decimals: int) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f"{figure.low:.{decimals}f} to {figure.high:.{decimals}f} ({figure.interval})"


def _hub(benchmark: Benchmark) -> str:
    if benchmark.hub is None:
        return "none known"
    at = benchmark.hub.revision[:8] if benchmark.hub.revision else "no known revision"
    return f"{benchmark.hub.id}\n{at}{', gated' if benchmark.hub.gated else ''}"


def _print(table: Any) -> None:
    from rich.console import Console

    Console().print(table)
