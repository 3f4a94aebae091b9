"""`davsp fit`: defences that are fitted to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from davsp.cli import completion
from davsp.cli.options import (
    TESTBED,
    AsJson,
    Data,
    Device,
    Dtype,
    ModelName,
    Out,
    PerGroup,
    Precision,
    Revision,
    SkipBad,
    TrainingBenchmarks,
    Validation,
    load_model,
    long_running,
    print_folder,
    say,
    training_queries,
    training_source,
)
from davsp.errors import InputError
from davsp.testbed.sources import check_world, is_testbed

if TYPE_CHECKING:
    from davsp.data.query import Query
    from davsp.defences.base import Defence


@long_running
def fit(
    name: Annotated[
        str,
        typer.Argument(
            help="Which defence, such as pat; docs/defences.md says what each is.", autocompletion=completion.fitted
        ),
    ],
    out: Out,
    model: ModelName = TESTBED,
    data: Data = None,
    benchmarks: TrainingBenchmarks = None,
    validation: Validation = None,
    per_group: PerGroup = None,
    corpus: Annotated[
        Path | None,
        typer.Option(
            help="UniGuard: a file of harmful sentences, ESIII: of security instructions, one a line. The testbed has "
            "its own."
        ),
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One option: steps=500. Repeatable.")] = None,
    seed: Annotated[int, typer.Option(min=0, envvar="DAVSP_SEED", help="Of the data's draw and of the fitting.")] = 0,
    skip_bad: SkipBad = False,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = Precision.AUTO,
    as_json: AsJson = False,
) -> None:
    """Fit a defence to a model. The same command goes on with a run that was stopped."""
    from davsp.defences import fitted_kind
    from davsp.defences.base import FittingData
    from davsp.training.run_state import Interrupted
    from davsp.util.options import read_options

    defence = fitted_kind(name)
    drawing = {"seed": seed} if "seed" in defence.FitOptions.model_fields else {}
    options = read_options(defence.FitOptions, drawing, set_ or [])
    source = training_source(data, benchmarks)
    if not defence.fits_queries and not _is_testbed(source):
        left = "--benchmark" if benchmarks else "--data"
        raise InputError(f"{name} is fitted to a corpus, and sees no queries: leave out {left}.")
    if defence.fits_corpus is None and corpus is not None:
        raise InputError(f"{name} is fitted to queries, and sees no corpus: leave out --corpus.")
    sentences = _sentences(defence, corpus, source, model)
    training: list[Query] = []
    checks: list[Query] = []
    if defence.fits_queries:
        training, checks = training_queries(source, validation, skip_bad, seed, model, per_group=per_group)
    elif per_group:
        raise InputError(f"{name} is fitted to a corpus, and sees no queries: leave out --per-group.")
    try:
        defence.fit(load_model(model, revision, device, dtype), options, FittingData(training, checks, sentences), out)
    except Interrupted as stop:
        say(f"\nStopped after step {stop.step}; the state is saved. The same command goes on from there.")
        raise typer.Exit(130) from stop
    except KeyboardInterrupt as stop:
        if not defence.fit_keeps_reading:
            raise
        say("\nStopped; what was read is kept. The same command goes on from there.")
        raise typer.Exit(130) from stop
    print_folder(out, as_json)


def _is_testbed(source: str | list[str]) -> bool:
    return isinstance(source, str) and is_testbed(source)


def _sentences(defence: type[Defence], corpus: Path | None, source: str | list[str], model: str) -> list[str]:
    """The corpus that is named, or else the testbed's own where its queries are used; [] where none is needed."""
    if defence.fits_corpus is None:
        return []
    if corpus is not None:
        from davsp.defences.corpus import read_corpus

        return read_corpus(corpus)
    if not _is_testbed(source):
        raise InputError(f"{defence.kind} is fitted to a corpus: name a file of sentences, one a line, with --corpus.")
    from davsp.testbed.corpora import corpus_of

    check_world(model)
    return corpus_of(defence.fits_corpus)
