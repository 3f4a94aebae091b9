"""The paper's tables for any model: its training set, its baselines, its benchmarks, and its figures beside ours.

Every step goes on with what it finds in its folder, so that the same call goes on with a run that was stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from davsp import api
from davsp.benchmarks.selection import BenchmarkSelection
from davsp.benchmarks.training import select_for_training, training_queries, training_remarks
from davsp.data.query import Query, check_unique
from davsp.defences import DEFENCES, load_defence
from davsp.defences.base import Defence, FittingData, NoOptions
from davsp.defences.corpus import HARMFUL_SENTENCES, SECURITY_INSTRUCTIONS, read_corpus
from davsp.errors import InputError
from davsp.evaluation.plan import choose
from davsp.judges import Judge
from davsp.models.base import VisionLanguageModel
from davsp.report.comparison import write_comparison
from davsp.report.pages import PAGE
from davsp.training.config import TrainConfig, read_config
from davsp.util.options import read_options
from davsp.util.processes import processes

TABLES: Mapping[str, tuple[str, ...]] = {
    "table1": (
        "mm_safetybench:SD_TYPO-paper-test",
        "mm_safetybench:SD-paper-test",
        "mm_safetybench:TYPO-paper-test",
        "figstep:full",
    ),
    "table2": ("mm_vet:paper-test", "mme:all", "llava_bench:all"),
}
"""Resistance and usefulness: the benchmarks that each is measured on, those of the paper's columns."""
TRAINING = (
    "mm_safetybench:SD_TYPO-paper-train",
    "mm_safetybench:SD-paper-train",
    "mm_safetybench:TYPO-paper-train",
    "mm_vet:paper-train",
)
"""What the paper trains on: 600 malicious and 100 benign queries."""
PROMPT = "davsp"
BASELINES = ("adashield-s", "adashield-a", "pat", "uniguard", "esiii")
CORPORA = {HARMFUL_SENTENCES: "harmful.txt", SECURITY_INSTRUCTIONS: "security.txt"}
"""The file that holds each corpus, one sentence a line."""


@dataclass(frozen=True)
class Reproduction:
    """What is compared, and how each defence is made.

    `fitted` and `config` hold the options of what is fitted and trained, `config` None without a prompt. `further` are
    defences by name or folder, those of the paper's that need no fitting among them.
    """

    table: str
    fitted: Mapping[str, BaseModel]
    config: TrainConfig | None
    further: tuple[str, ...]
    limit: int | None = None
    seed: int = 0

    @property
    def count(self) -> int:
        """How many are compared, undefended among them."""
        return 1 + len(self.fitted) + (self.config is not None) + len(self.further)


@dataclass(frozen=True)
class PaperData:
    """Queries and corpora in the folder of data. `missing` has a line for each part that is not there, `remarks` what
    must be known of the rest."""

    training: Sequence[Query]
    checks: Sequence[Query]
    tests: Sequence[BenchmarkSelection]
    corpora: Mapping[str, list[str]]
    remarks: Sequence[str]
    missing: Sequence[str]


def plan_reproduction(
    table: str,
    further: Sequence[str] = (),
    without: Sequence[str] = (),
    settings: Sequence[str] = (),
    *,
    config: Mapping[str, Any] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Reproduction:
    """All of the paper's defences but those `without`, and `further` ones.

    `settings` are options of what is made, "NAME.option=value": "pat.steps=50", "davsp.layer=20". `config`: training
    options of the prompt by name, instead of the paper's. Raises InputError for an unknown table, name or option.
    """
    if table not in TABLES:
        raise InputError(f"there is no {table!r}. Choose from {', '.join(TABLES)}.")
    if unknown := [name for name in without if name not in (*BASELINES, PROMPT)]:
        raise InputError(f"{unknown[0]!r} is none of the paper's defences: {', '.join((*BASELINES, PROMPT))}.")
    kinds = [kind for kind in BASELINES if kind not in without]
    made = [kind for kind in kinds if DEFENCES.get(kind).FitOptions is not NoOptions]
    own: dict[str, list[str]] = {name: [] for name in (*made, *([] if PROMPT in without else [PROMPT]))}
    for setting in settings:
        name, _, assignment = setting.partition(".")
        if name not in own:
            raise InputError(f"{setting!r}: write DEFENCE.OPTION=VALUE, with one of {', '.join(own)}.")
        own[name].append(assignment)
    fitted = {}
    for kind in made:
        try:
            fitted[kind] = read_options(DEFENCES.get(kind).FitOptions, {"seed": seed}, own[kind])
        except InputError as error:
            raise InputError(f"{kind}: {error} Set it, --set {kind}.OPTION=VALUE, or --without {kind}.") from error
    chosen = {"seed": seed} | dict(config or {})
    prompt = read_config(chosen, own[PROMPT], paper=config is None) if PROMPT in own else None
    plain = [kind for kind in kinds if kind not in made]
    return Reproduction(table, fitted, prompt, (*plain, *further), limit, seed)


def read_paper_data(folder: Path, plan: Reproduction) -> PaperData:
    """What the plan needs of a folder that holds each benchmark under its name (`mm_safetybench`, `figstep` ...) and
    the corpora."""
    missing: list[str] = []
    remarks: list[str] = []
    training: tuple[list[Query], list[Query]] = ([], [])
    if plan.config or any(DEFENCES.get(kind).fits_queries for kind in plan.fitted):
        chosen = []
        for name in TRAINING:
            try:
                chosen += select_for_training([_placed(name, folder)])
            except InputError as error:
                missing.append(f"{name}: {error}")
        remarks += [remark for selection in chosen for remark in training_remarks(selection)]
        if len(chosen) == len(TRAINING):
            training = training_queries(chosen, api.HELD_OUT, plan.seed)
    tests = []
    for name in TABLES[plan.table]:
        try:
            tests.append(BenchmarkSelection.named(_placed(name, folder)))
            remarks += tests[-1].remarks()
        except InputError as error:
            missing.append(f"{name}: {error}")
    corpora = {}
    for kind in plan.fitted:
        if sentences := DEFENCES.get(kind).fits_corpus:
            try:
                corpora[sentences] = read_corpus(folder / CORPORA[sentences])
            except InputError as error:
                missing.append(f"{sentences} for {kind}: {error}")
    return PaperData(*training, tests, corpora, list(dict.fromkeys(remarks)), missing)


def reproduce(
    model: VisionLanguageModel,
    plan: Reproduction,
    data: PaperData,
    out: Path,
    judge: Judge,
    *,
    batch_size: int = 32,
    max_new_tokens: int = 256,
    progress: bool = True,
) -> Path:
    """Fit, train and evaluate in `out`, and write there the page and the tables of all evaluations in it; their path.

    Raises InputError where data are missing, Interrupted on Ctrl-C in training, and what the steps raise.
    """
    check_complete(data)
    further = [load_defence(name) for name in plan.further]
    own = [*plan.fitted, *([PROMPT] if plan.config else [])]
    check_unique("defence name", ["none", *own, *(defence.name for defence in further)])
    for defence in further:
        defence.check(model)
    made: list[Defence] = []
    for kind, options in plan.fitted.items():
        fits = DEFENCES.get(kind)
        corpus = data.corpora.get(fits.fits_corpus or "", [])
        given = FittingData(list(data.training), list(data.checks), corpus)
        made.append(fits.fit(model, options, given, out / kind, quiet=not progress))
    if plan.config:
        chosen = plan.config.model_dump()
        made.append(
            api.train(model, data.training, validation=data.checks, out=out / PROMPT, progress=progress, **chosen)
        )
    for test in data.tests:
        api.evaluate(
            model,
            choose(test.queries, None, plan.limit, plan.seed),
            [None, *further, *made],
            out=out / test.key,
            title=f"{model.name}: {test.title}, {plan.count} defences compared",
            judge=judge,
            benchmark=test,
            batch_size=batch_size,
            max_new_tokens=max_new_tokens,
            seed=plan.seed,
            progress=progress,
        )
    return write_comparison([out], out) if processes().is_main else out / PAGE


def check_complete(data: PaperData) -> None:
    """Raise InputError, naming everything, where data are missing."""
    if data.missing:
        lines = "\n".join(f"  {line}" for line in data.missing)
        raise InputError(f"{len(data.missing)} parts of the data are missing:\n{lines}")


def _placed(name: str, folder: Path) -> str:
    """NAME:VARIANT of a benchmark in its folder within the folder of data."""
    return f"{name}={folder / name.partition(':')[0]}"
