"""The gate: queries in which the model itself recognises no harm are answered as if nothing stood before it."""

from __future__ import annotations

import hashlib
import shutil
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from torch import Tensor

from davsp.data.conversation import Role
from davsp.data.digests import digest
from davsp.data.query import Query, split_queries
from davsp.defences import fitted
from davsp.defences.base import Defence, Exchange, FittingData
from davsp.defences.calibration import conformal_threshold
from davsp.defences.loading import load_defence
from davsp.defences.stored import BaseModelFacts
from davsp.errors import ArtefactError, ModelError
from davsp.imaging.canvas import Canvas
from davsp.models.base import VisionLanguageModel
from davsp.models.requests import Request, Watch
from davsp.models.state_store import StateStore
from davsp.rates import Rate
from davsp.training.batches import REFUSAL
from davsp.training.choices import Direction, FitOn
from davsp.training.vector import extract_vector, project
from davsp.util.batching import batched
from davsp.util.options import Count, Positive
from davsp.util.progress import bar

SELECTION = 0.25
"""Of the training queries: those that choose the layer."""
STATES = "states"
"""Of a gate's folder: hidden states that were read, until the gate is fitted."""
CURVE = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of benign queries at which the card says how many malicious ones are caught."""


class GateFitOptions(BaseModel):
    """How a gate is fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: float = Field(0.05, gt=0, lt=1, description="Share of benign queries that are flagged at most.")
    refusal_rate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of benign queries that are refused at most, whatever defence stands behind the gate. "
        "Default: that defence answers all that is flagged.",
    )
    confidence: float = Field(0.95, gt=0, lt=1, description="How sure these are, over the draw of the calibration.")
    direction: Direction = Field(Direction.LOGISTIC, description="How the direction is made, as for `davsp train`.")
    fit_on: FitOn = Field(FitOn.IMAGES, description="What it is made from: images or texts, as for `davsp train`.")
    layer: Positive | None = Field(
        None,
        description="Decoder layer. Default: the one that separates held-out training queries best.",
    )
    batch_size: Positive = Field(16, description="Queries that are read at once.")
    seed: Count = Field(0, description="Of which training queries are held out.")
    states: Path | None = Field(
        None,
        description="A folder in which the hidden states that are read are kept, where fits with other options find "
        "them. Default: they are kept beside the gate until it is fitted, so that a fit that was stopped goes on.",
    )

    @field_validator("refusal_rate")
    @classmethod
    def _is_no_more_than_is_flagged(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and value > info.data.get("rate", 1):
            raise ValueError(f"{value:g} is more than the rate, and what is refused is flagged first")
        return value


class GateOptions(BaseModel):
    """Which gate, and what stands behind it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path = Field(description="A folder that `davsp fit gate` wrote.")
    inner: str = Field("", description="The defence behind it, a folder or a name; empty: a refusal.")


class GateFacts(fitted.FittedFacts):
    """What a gate says of itself. Rates are of the queries that it was calibrated with, by kind (`group`)."""

    layer: int
    threshold: float
    refusal_threshold: float | None = None
    """Above it a query is refused, whatever stands behind the gate."""
    flagged: dict[str, Rate]
    """Of the benign queries."""
    caught: dict[str, Rate]
    """Of the malicious ones."""
    curve: dict[str, Rate]
    """Malicious queries caught, by the share of benign ones above the threshold."""


class Gate(Defence):
    """Reads the undefended query; where the model recognises harm, the query is answered behind `inner`, or refused.

    What is below the threshold is answered in the same pass, word for word as without a gate. It needs a loaded model.
    """

    kind = "gate"
    about = (
        "A gate: the hidden state of the undefended query is projected on a direction that tells malicious from benign "
        "queries. Below the threshold the query is answered as if there were no gate, in the same pass; above it, it "
        "is answered behind another defence, or refused. The threshold is one of split conformal calibration: of "
        "queries like the benign ones that it was calibrated with, it flags no more than was promised; of others it "
        "promises nothing."
    )
    Options = GateOptions
    FitOptions = GateFitOptions
    fits_queries = True
    model_specific = True
    reads_states = True

    def __init__(self, facts: GateFacts, direction: Tensor, inner: Defence | None = None) -> None:
        self.facts, self.direction, self.inner = facts, direction, inner
        self.name = f"{facts.name}+{inner.name}" if inner else facts.name
        self.watch = Watch(facts.layer, direction, facts.threshold)

    def before(self, inner: Defence, name: str | None = None) -> Gate:
        """The same gate before a defence, which answers what it flags; called `name`, by default after both."""
        gate = Gate(self.facts, self.direction, inner)
        gate.name = name or gate.name
        return gate

    @property
    def identity(self) -> str:
        numbers = (self.facts.layer, self.facts.threshold, self.facts.refusal_threshold)
        state = self.direction.numpy().tobytes() + repr(numbers).encode()
        return f"{hashlib.sha256(state).hexdigest()} before {self.inner.identity if self.inner else REFUSAL!r}"

    async def answer(self, query: Query, exchange: Exchange) -> str:
        """The undefended answer, or that of `inner`. Raises ModelError where the model did not look."""
        response = await exchange.ask(Request(query.messages, watch=self.watch))
        if response.projection is None:
            raise ModelError(f"{self.name}: the model gave an answer without reading its hidden states.")
        if not self.watch.flags(response.projection):
            return response.text
        bound = self.facts.refusal_threshold
        if self.inner is None or (bound is not None and not response.projection <= bound):
            return REFUSAL
        return await self.inner.answer(query, exchange)

    def check(self, model: VisionLanguageModel) -> None:
        self.facts.check(model)
        if self.inner:
            self.inner.check(model)

    def on_canvas(self, canvas: Canvas) -> Gate:
        return self.before(self.inner.on_canvas(canvas), self.name) if self.inner else self

    def with_limits(self, min_pixels: int | None = None, max_pixels: int | None = None) -> Gate:
        return self.before(self.inner.with_limits(min_pixels, max_pixels), self.name) if self.inner else self

    def on_images_of(self, roles: Collection[Role]) -> Gate:
        return self.before(self.inner.on_images_of(roles), self.name) if self.inner else self

    @property
    def alignment(self) -> tuple[int, Tensor] | None:
        return self.facts.layer, self.direction

    def picture(self) -> bytes | None:
        return self.inner.picture() if self.inner else None

    @classmethod
    def from_options(cls, options: GateOptions) -> Gate:
        gate = cls.load(options.folder)
        return gate.before(load_defence(options.inner)) if options.inner else gate

    @classmethod
    def fit(
        cls,
        model: VisionLanguageModel,
        options: GateFitOptions,
        data: FittingData,
        folder: Path,
        *,
        quiet: bool = False,
    ) -> Self:
        """Fit the direction to three quarters of the training queries, choose the layer by the others, and calibrate
        the threshold with the benign validation queries.

        Raises InputError where there are too few of these for the promise, queries of one side alone, or a layer that
        does not see the image.
        """
        if options.layer:
            model.check_layer(options.layer)
        store = StateStore(options.states or folder / STATES, model)
        fitting, selection = split_queries(data.training, SELECTION, options.seed)
        calibration = data.validation
        with bar("Gate", len(data.training) + len(calibration), quiet=quiet) as advance:
            vector = extract_vector(
                model,
                fitting,
                selection,
                prefix="",
                batch_size=options.batch_size,
                advance=advance,
                direction=options.direction,
                fit_on=options.fit_on,
                store=store,
            )
            seeing = vector.statistics[model.first_seeing_layer - 1 :]
            layer = options.layer or max(seeing, key=lambda s: s.separation).layer
            direction = vector.direction(layer)
            scores: list[float] = []
            for batch in batched(calibration, options.batch_size):
                scores += project(model, batch, direction, layer, batch_size=options.batch_size, store=store).tolist()
                advance(len(batch))
        benign = [score for score, query in zip(scores, calibration, strict=True) if not query.malicious]
        malicious = [score for score, query in zip(scores, calibration, strict=True) if query.malicious]
        threshold = conformal_threshold(benign, options.rate, options.confidence)
        bound = options.refusal_rate and conformal_threshold(benign, options.refusal_rate, options.confidence)
        facts = GateFacts(
            kind=cls.kind,
            name=folder.resolve().name,
            base_model=BaseModelFacts.of(model),
            config=options.model_dump(mode="json", exclude={"states"}),
            data={"training": digest(data.training), "calibration": digest(calibration)},
            metrics={"auroc": vector.at(layer).auroc, "separation": vector.at(layer).separation},
            layer=layer,
            threshold=threshold,
            refusal_threshold=bound,
            flagged=_by_kind(scores, calibration, threshold, malicious=False),
            caught=_by_kind(scores, calibration, threshold, malicious=True),
            curve={f"{share:g}": _above(malicious, _quantile(benign, share)) for share in CURVE},
        )
        fitted.save(folder, facts, {"direction": direction}, _card(cls.about, facts))
        shutil.rmtree(folder / STATES, ignore_errors=True)
        return cls(facts, direction)

    @classmethod
    def load(cls, folder: Path) -> Self:
        facts, tensors = fitted.load(folder, GateFacts, cls.kind)
        direction = tensors.get("direction")
        if direction is None or direction.shape != (facts.base_model.hidden_size,):
            raise ArtefactError(f"{folder} holds no direction that fits its config.json: fit the gate again.")
        return cls(facts, direction.float())


def _by_kind(
    scores: Sequence[float], queries: Sequence[Query], threshold: float, *, malicious: bool
) -> dict[str, Rate]:
    """By group, the queries of one side that are above the threshold."""
    found: dict[str, list[float]] = defaultdict(list)
    for score, query in zip(scores, queries, strict=True):
        if query.malicious is malicious:
            found[query.group].append(score)
    return {group: _above(own, threshold) for group, own in sorted(found.items())}


def _above(scores: Sequence[float], threshold: float) -> Rate:
    return Rate.of(sum(not score <= threshold for score in scores), len(scores))


def _quantile(benign: Sequence[float], share: float) -> float:
    """What a share of the benign scores exceeds."""
    return float(torch.tensor(benign, dtype=torch.float64).quantile(1 - share))


def _card(about: str, facts: GateFacts) -> str:
    rows = [
        *(("benign, flagged", name, rate) for name, rate in facts.flagged.items()),
        *(("malicious, caught", name, rate) for name, rate in facts.caught.items()),
        *(
            (f"malicious, caught where {100 * float(share):g} % of the benign are flagged", "all", rate)
            for share, rate in facts.curve.items()
        ),
    ]
    table = "\n".join(f"| {what} | {name} | {_shown(rate)} |" for what, name, rate in rows)
    promised = f"at most {100 * facts.config['rate']:g} % of benign queries flagged"
    if refused := facts.config.get("refusal_rate"):
        promised += f", {100 * refused:g} % refused whatever stands behind it"
    return (
        f"{about}\n\nDecoder layer {facts.layer}. Promised: {promised}, with {100 * facts.config['confidence']:g} % "
        "confidence. Measured on the queries that it was calibrated with:\n\n"
        f"| | kind | |\n|---|---|---|\n{table}"
    )


def _shown(rate: Rate) -> str:
    share = rate.in_percent(sign=" %")
    return f"{share} n={rate.n}" if share else "-"
