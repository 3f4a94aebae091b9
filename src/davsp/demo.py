"""`davsp demo`: the main job, end to end, on a testbed model."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from davsp.api import evaluate
from davsp.data.digests import digest
from davsp.data.query import Query
from davsp.defences.base import Defence, FittingData
from davsp.defences.gate import Gate, GateFitOptions
from davsp.defences.stored import CONFIG, BaseModelFacts
from davsp.defences.textual import Undefended
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt, train_prompt
from davsp.errors import InputError
from davsp.models.base import VisionLanguageModel
from davsp.models.loading import load_model
from davsp.models.shipped import OF_THE_WORLD, SHIPPED, SMOL
from davsp.prompts.layouts import Mode
from davsp.prompts.text import SAFETY_PREFIX
from davsp.report.pages import PAGE
from davsp.results import Results, write_results
from davsp.testbed.queries import border_queries, draw_queries
from davsp.testbed.sources import PUBLIC, SPLITS, draw_source, own_side
from davsp.testbed.world import Split
from davsp.training.config import NO_DEEP_ALIGNMENT, TrainConfig
from davsp.training.jobs import vector_for
from davsp.training.run_state import read_metrics
from davsp.training.twins import apart
from davsp.util.files import check_same_run
from davsp.util.processes import processes
from davsp.util.provenance import reads
from davsp.util.verbosity import Verbosity, verbosity

FITTING_PER_KIND = {"train": 60, "validation": 30}
"""Malicious and benign queries of each kind that the gate is fitted to, and calibrated with."""
FITTED_SHARE, FLAGGED = 0.5, 0.1
"""Of the latter, those that it is fitted to, too; and benign queries that it may flag, as a share."""


@dataclass(frozen=True)
class DemoQueries:
    """What is trained with, what judges and chooses, and what everything is evaluated on."""

    training: list[Query]
    checks: list[Query]
    test: list[Query]


@dataclass
class DemoRun:
    """A demo under way: where it writes, and what its stages took."""

    folder: Path
    seed: int
    quiet: bool
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Take the time of the block."""
        begun = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - begun, 1)


class Demo(ABC):
    """What the demos of two sorts of models differ in: queries, defences, and how answers are made."""

    per_group: ClassVar[int]
    """Test queries of each group, where nothing else is said."""
    dtype: ClassVar[str]
    """The same of the precision of the model's weights."""
    max_new_tokens: ClassVar[int]
    batch_size: ClassVar[int]
    title: ClassVar[str]
    """Of the page, before the model's name."""

    @abstractmethod
    def duration(self, per_group: int) -> str:
        """How long it takes, for people."""

    @abstractmethod
    def draw(self, per_group: int, seed: int) -> DemoQueries:
        """The queries. Raises InputError where there is nothing to draw from."""

    @abstractmethod
    def make_defences(
        self, model: VisionLanguageModel, queries: DemoQueries, prefix: Defence, run: DemoRun
    ) -> list[Defence]:
        """What is compared with no defence and with `prefix`, made in the run's folder or found there."""


@dataclass(frozen=True)
class WorldDemo(Demo):
    """In the testbed's drawn world: a trained prompt, and three ablations of it."""

    per_group, dtype, max_new_tokens, batch_size = 32, "auto", 20, 64
    title = "Visual safety prompt"
    side: int
    """Of the model's images in pixels."""
    steps: int | None

    def duration(self, per_group: int) -> str:  # noqa: ARG002 - training takes most of it
        return "a few minutes"

    def draw(self, per_group: int, seed: int) -> DemoQueries:
        training, checks = border_queries(seed, side=self.side)
        return DemoQueries(training, checks, draw_queries(Split.TEST, per_group, seed, side=self.side))

    def make_defences(
        self,
        model: VisionLanguageModel,
        queries: DemoQueries,
        prefix: Defence,  # noqa: ARG002 - the prompts have a prefix of their own
        run: DemoRun,
    ) -> list[Defence]:
        ours = TrainConfig(seed=run.seed) if self.steps is None else TrainConfig(seed=run.seed, steps=self.steps)
        variants = {
            "border": ours.model_copy(update={"prefix": ""}),
            "no_deep_alignment": ours.model_copy(update=NO_DEEP_ALIGNMENT),
            "additive": ours.model_copy(update={"mode": Mode.ADDITIVE, "side": self.side}),
            "davsp": ours,
        }
        with run.timed("vector"):
            vectors = {
                text: vector_for(
                    model,
                    queries.training,
                    queries.checks,
                    text,
                    run.folder / name,
                    direction=ours.direction,
                    fit_on=ours.fit_on,
                    batch_size=self.batch_size,
                    quiet=run.quiet,
                )
                for name, text in (("vector", SAFETY_PREFIX), ("vector_without_prefix", ""))
            }
        trained: list[Defence] = []
        for name, config in variants.items():
            with run.timed(f"train {name}"):
                pair, folder = (model, vectors[config.prefix]), run.folder / name
                trained.append(train_prompt([pair], config, queries.training, queries.checks, folder, quiet=run.quiet))
        return trained


@dataclass(frozen=True)
class ReaderDemo(Demo):
    """On the model that reads English: a gate, which refuses, and the same gate before the prefix.

    No border is trained: none has helped this model, and on a CPU the default's 60 steps would take hours.
    """

    per_group, dtype, max_new_tokens, batch_size = 20, "fast", 24, 16
    title = "A gate"
    texts: Path | None
    """The folder of public texts; None: that which FOLDER_VARIABLE names."""

    def duration(self, per_group: int) -> str:
        return f"about {10 + 0.9 * per_group:.0f} minutes on two quiet cores"

    def draw(self, per_group: int, seed: int) -> DemoQueries:
        name = f"{PUBLIC}={self.texts}" if self.texts else PUBLIC
        reads(name)
        counts = FITTING_PER_KIND | {"test": per_group}
        return DemoQueries(*(draw_source(name, split, counts[split], seed, SMOL) for split in SPLITS))

    def make_defences(
        self, model: VisionLanguageModel, queries: DemoQueries, prefix: Defence, run: DemoRun
    ) -> list[Defence]:
        with run.timed("fit gate"):
            gate = self._gate(model, queries, run)
        return [gate, gate.before(prefix)]

    def _gate(self, model: VisionLanguageModel, queries: DemoQueries, run: DemoRun) -> Gate:
        """The gate in the run's folder, fitted if need be. Raises ArtefactError for one of another run."""
        folder = run.folder / "gate"
        options = GateFitOptions(rate=FLAGGED, fitted_share=FITTED_SHARE, batch_size=self.batch_size)
        if not (folder / CONFIG).is_file():
            return Gate.fit(model, options, FittingData(queries.training, queries.checks), folder, quiet=run.quiet)
        gate = Gate.load(folder)
        gate.check(model)
        more, calibration = apart(queries.checks, FITTED_SHARE)
        wanted = {
            "options": options.model_dump(mode="json", exclude={"states"}),
            "data": {"training": digest([*queries.training, *more]), "calibration": digest(calibration)},
            "dtype": BaseModelFacts.of(model).dtype,
        }
        saved = {"options": gate.facts.config, "data": gate.facts.data, "dtype": gate.facts.base_model.dtype}
        check_same_run(folder, "the gate of another run", saved, wanted)
        return gate


def run_demo(
    folder: Path,
    testbed: str,
    *,
    seed: int,
    per_group: int | None = None,
    steps: int | None = None,
    texts: Path | None = None,
    dtype: str = "auto",
    quiet: bool = False,
) -> tuple[Results, Path]:
    """Make the defences that suit a testbed model, and compare them, none and the safety prefix on the test split.

    `per_group` and `dtype` ("auto") are by default the demo's own. `steps` is for models of the testbed's world, which
    are trained for; `texts`, the folder of public texts, for the one that reads English. Writes everything to `folder`
    and goes on with what is there. Returns the results and the report's path. Raises InputError for another model, in
    several processes, and where there are no texts, and ArtefactError where the folder holds another run.
    """
    if processes().count > 1:
        raise InputError("the demo is one process's job: start it without accelerate.")
    demo, run = _demo_of(testbed, steps, texts), DemoRun(folder, seed, quiet)
    with run.timed("load"):
        queries = demo.draw(per_group or demo.per_group, seed)
        model = load_model(testbed, dtype=demo.dtype if dtype == "auto" else dtype)
    if not quiet and verbosity() is not Verbosity.QUIET:
        print(f"The demo on {testbed} takes {demo.duration(per_group or demo.per_group)}.", file=sys.stderr)
    prefix = VisualSafetyPrompt("prefix", None, SAFETY_PREFIX, base_model=BaseModelFacts.of(model))
    prefix.save(folder / "prefix")
    made = demo.make_defences(model, queries, prefix, run)
    with run.timed("evaluate"):
        results = evaluate(
            model,
            queries.test,
            [Undefended(), prefix, *made],
            out=folder,
            title=f"{demo.title} on {testbed}",
            training=read_metrics(folder / made[-1].name),
            batch_size=demo.batch_size,
            max_new_tokens=demo.max_new_tokens,
            seed=seed,
            progress=not quiet,
        ).results
    results = results.model_copy(update={"seconds": results.seconds | run.seconds})
    write_results(folder, results)
    return results, folder / PAGE


def _demo_of(testbed: str, steps: int | None, texts: Path | None) -> Demo:
    """The demo on a model. Raises InputError for a model that is none of the testbed's, and what its demo has not."""
    if testbed not in SHIPPED:
        raise InputError(f"the demo runs on testbed models: choose from {', '.join(SHIPPED)}.")
    if testbed in OF_THE_WORLD:
        if texts:
            raise InputError(f"{testbed} knows the words of its drawn world alone: leave out --texts.")
        return WorldDemo(own_side(testbed), steps)
    if steps is not None:
        raise InputError(f"the demo on {testbed} fits a gate and trains no prompt: leave out --steps.")
    return ReaderDemo(texts)
