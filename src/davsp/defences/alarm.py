"""The alarm: whether the model recognises harm in a query that a border has made plain to it, beside the answer."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from davsp.data.conversation import Role
from davsp.data.digests import digest
from davsp.data.query import Query
from davsp.defences import fitted
from davsp.defences.base import Defence, Exchange, FittingData, RewritingDefence
from davsp.defences.calibrated import CalibratedFacts, card, measured
from davsp.defences.calibration import check_enough, conformal_threshold
from davsp.defences.loading import ALARM, load_defence
from davsp.defences.stored import BaseModelFacts
from davsp.errors import ArtefactError, InputError, ModelError
from davsp.imaging.canvas import Canvas
from davsp.models.base import VisionLanguageModel
from davsp.models.probe import Probe
from davsp.models.requests import Request, Watch
from davsp.training.separation import check_both_sides
from davsp.training.vector import project
from davsp.util.batching import batched
from davsp.util.options import Positive
from davsp.util.progress import bar


class AlarmFacts(CalibratedFacts):
    """What an alarm says of itself."""

    defence: str
    """SHA-256 of what tells the defence that it was calibrated behind from any other, and of its direction."""


class AlarmFitOptions(BaseModel):
    """How an alarm is calibrated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    defence: str = Field(description="The defence that it is behind: a folder, or a name.")
    rate: float = Field(0.01, gt=0, lt=1, description="Share of benign queries for which it is raised at most.")
    confidence: float = Field(0.95, gt=0, lt=1, description="How sure that is, over the draw of the calibration.")
    batch_size: Positive = Field(16, description="Queries that are read at once.")


class AlarmOptions(BaseModel):
    """Which alarm, and the defence that it is behind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path = Field(description="A folder that `davsp fit alarm` wrote.")
    defence: str = Field(description="The defence that it was calibrated behind, a folder or a name.")


class Alarm(Defence):
    """Answers behind `inner`, in one pass and word for word as `inner` alone, and notes whether the model recognises
    harm in what it reads there. It needs a loaded model."""

    kind = "alarm"
    about = (
        "An alarm: every query is answered behind another defence, and in the same pass the hidden state there is "
        "projected on the direction that this defence was trained along. Above the threshold the alarm is raised, for "
        "whoever reads the log; the answer stays as it is. The threshold is one of split conformal calibration: of "
        "queries like the benign ones that it was calibrated with, it is raised for no more than was promised; of "
        "others it promises nothing. This folder holds the alarm alone, which needs the defence that it was calibrated "
        "behind."
    )
    Options = AlarmOptions
    FitOptions = AlarmFitOptions
    fits_queries = True
    model_specific = True
    reads_states = True
    inner: RewritingDefence

    def __init__(self, facts: AlarmFacts, inner: RewritingDefence, name: str) -> None:
        """Raises InputError for a defence without a direction."""
        self.facts, self.inner, self.name = facts, inner, name
        self.watch = Watch(_direction_of(inner), threshold=float("inf"))

    @classmethod
    def behind(cls, defence: Defence, folder: Path, name: str | None = None) -> Alarm:
        """The alarm in a folder, behind the defence that it was calibrated with; called `name`, by default after both.

        Raises ArtefactError for another defence and for a damaged folder, InputError for a defence that no alarm can
        be behind.
        """
        facts, _ = fitted.load(folder, AlarmFacts, cls.kind)
        inner = _rewriting(defence)
        if facts.defence != _digest(inner):
            raise ArtefactError(
                f"the alarm in {folder} was calibrated behind another defence than {inner.name}: fit it again, "
                "`davsp fit alarm`, or take it away."
            )
        return cls(facts, inner, name or f"{inner.name}+{facts.name}")

    @property
    def identity(self) -> str:
        return f"{_digest(self.inner)} above {self.facts.threshold!r}"

    async def answer(self, query: Query, exchange: Exchange) -> str:
        """The answer behind `inner`; none where the projection is no number, which raises the alarm. Raises ModelError
        where the model did not look."""
        defended = await asyncio.to_thread(self.inner.defend, query)
        response = await exchange.ask(Request(defended.messages, watch=self.watch))
        if response.projection is None:
            raise ModelError(f"{self.name}: the model gave an answer without reading its hidden states.")
        exchange.alarm = not response.projection <= self.facts.threshold
        return response.text

    def check(self, model: VisionLanguageModel) -> None:
        self.facts.check(model)
        self.inner.check(model)

    def on_canvas(self, canvas: Canvas) -> Alarm:
        return Alarm(self.facts, self.inner.on_canvas(canvas), self.name)

    def with_limits(self, min_pixels: int | None = None, max_pixels: int | None = None) -> Alarm:
        return Alarm(self.facts, self.inner.with_limits(min_pixels, max_pixels), self.name)

    def on_images_of(self, roles: Collection[Role]) -> Alarm:
        return Alarm(self.facts, self.inner.on_images_of(roles), self.name)

    @property
    def alignment(self) -> Probe | None:
        return self.watch.probe

    @property
    def thresholds(self) -> tuple[float, float] | None:
        return self.inner.thresholds

    def picture(self) -> bytes | None:
        return self.inner.picture()

    def preview(self, query: Query) -> Query:
        return self.inner.preview(query)

    @classmethod
    def from_options(cls, options: AlarmOptions) -> Alarm:
        return cls.behind(load_defence(options.defence, alone=True), options.folder)

    @classmethod
    def fit(
        cls,
        model: VisionLanguageModel,
        options: AlarmFitOptions,
        data: FittingData,
        folder: Path,
        *,
        quiet: bool = False,
    ) -> Self:
        """Calibrate the threshold with the benign validation queries, as the defence rewrites them.

        The training queries are not read: the defence may have been trained on them, and projects them further than
        others. Raises InputError for a defence that no alarm can be behind, where there are too few benign queries for
        the promise, and for queries of one side alone; ArtefactError for a defence of another model.
        """
        inner = _rewriting(load_defence(options.defence, alone=True))
        probe = _direction_of(inner)
        defence = _digest(inner)  # before it is put on the model's canvas
        inner.check(model)
        if probe.directions.shape[1] != model.hidden_size:
            raise InputError(f"the direction of {inner.name} is not one of {model.name}: train a prompt for it alone.")
        queries = data.validation
        check_enough(sum(not query.malicious for query in queries), options.rate, options.confidence)
        check_both_sides("validation", queries)
        inner = inner.on_canvas(model.canvas)
        scores: list[float] = []
        with bar("Alarm", len(queries), quiet=quiet) as advance:
            for batch in batched(queries, options.batch_size):
                defended = [inner.defend(query) for query in batch]
                scores += project(model, defended, probe, batch_size=options.batch_size).tolist()
                advance(len(batch))
        benign = [score for score, query in zip(scores, queries, strict=True) if not query.malicious]
        threshold = conformal_threshold(benign, options.rate, options.confidence)
        facts = AlarmFacts(
            kind=cls.kind,
            name=folder.resolve().name,
            base_model=BaseModelFacts.of(model),
            config=options.model_dump(mode="json"),
            data={"calibration": digest(queries)},
            layers=probe.layers,
            threshold=threshold,
            defence=defence,
            **measured(scores, queries, threshold),
        )
        fitted.save(folder, facts, {}, card(cls.about, facts))
        return cls(facts, inner, f"{inner.name}+{facts.name}")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Raises InputError: a folder holds no more than the alarm."""
        raise InputError(
            f"{folder} holds an alarm, and not the defence that it is behind: name both, alarm:folder={folder},"
            f"defence=FOLDER, or keep it as the folder {ALARM!r} of that defence's own folder, and name that one."
        )


def _rewriting(defence: Defence) -> RewritingDefence:
    """The defence. Raises InputError for one that does not rewrite."""
    if not isinstance(defence, RewritingDefence):
        raise InputError(
            f"an alarm is behind a defence that rewrites the query and asks once, and {defence.name} does not."
        )
    return defence


def _direction_of(defence: Defence) -> Probe:
    """What it was trained along. Raises InputError for a defence without a direction."""
    if defence.alignment is None:
        raise InputError(
            f"{defence.name} has no direction that an alarm could read: it takes a prompt that `davsp train` trained."
        )
    return defence.alignment


def _digest(defence: RewritingDefence) -> str:
    """SHA-256 of what a defence makes of queries, and of its direction."""
    probe = _direction_of(defence)
    total = hashlib.sha256(repr((defence.identity, probe.layers)).encode())
    total.update(probe.directions.cpu().numpy().tobytes())
    return total.hexdigest()
