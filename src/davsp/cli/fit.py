"""`davsp fit`: baselines that are fitted to a model."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from davsp.cli.options import (
    TESTBED,
    Data,
    Device,
    Dtype,
    ModelName,
    Out,
    Precision,
    Revision,
    SkipBad,
    Validation,
    load_model,
    say,
    side_of_testbed,
    training_queries,
)
from davsp.errors import InputError


class Baseline(StrEnum):
    ADASHIELD_A = "adashield-a"
    PAT = "pat"
    UNIGUARD = "uniguard"
    ESIII = "esiii"


def fit(
    name: Annotated[Baseline, typer.Argument(help="Which baseline; docs/baselines.md says what each is.")],
    out: Out,
    model: ModelName = TESTBED,
    data: Data = TESTBED,
    validation: Validation = None,
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
) -> None:
    """Fit a baseline to a model. The same command goes on with a run that was stopped."""
    from davsp.defences import adashield_refinement as refinement
    from davsp.defences import esiii, pat, uniguard
    from davsp.training.run_state import Interrupted
    from davsp.util.options import read_options

    told, assignments = {"seed": seed}, set_ or []
    load = partial(load_model, model, revision, device, dtype)
    queries = partial(training_queries, data, validation, skip_bad, seed, model)
    try:
        match name:
            case Baseline.ADASHIELD_A:
                refined = read_options(refinement.AdaShieldAOptions, told, assignments)
                training, checks = queries()
                refinement.fit(load(), refined, training, checks, out)
            case Baseline.PAT:
                searched = read_options(pat.PatOptions, told, assignments)
                training, _ = queries()
                pat.fit(load(), searched, training, out)
            case Baseline.UNIGUARD:
                guarded = read_options(uniguard.UniGuardOptions, told, assignments)
                sentences, (training, _) = _sentences(name, corpus, data, model), queries()
                uniguard.fit(load(), guarded, sentences, training, out)
            case Baseline.ESIII:
                embedded = read_options(esiii.EsiiiOptions, told, assignments)
                if side_of_testbed(data, model) is None:
                    raise InputError("esiii is fitted to a corpus, and sees no queries: leave out --data.")
                sentences = _sentences(name, corpus, data, model)
                esiii.fit(load(), embedded, sentences, out)
    except Interrupted as stop:
        say(f"\nStopped after step {stop.step}; the state is saved. The same command goes on from there.")
        raise typer.Exit(130) from stop
    print(out)


def _sentences(name: Baseline, corpus: Path | None, data: str, model: str) -> list[str]:
    """The corpus that is named, or else the testbed's own where its queries are used."""
    if corpus is not None:
        from davsp.defences.corpus import read_corpus

        return read_corpus(corpus)
    if side_of_testbed(data, model) is None:
        raise InputError(f"{name} is fitted to a corpus: name a file of sentences, one a line, with --corpus.")
    from davsp.testbed.corpora import forbidden_answers, security_instructions

    return forbidden_answers() if name is Baseline.UNIGUARD else security_instructions()
