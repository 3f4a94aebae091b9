"""The gate: queries in which the model itself recognises no harm are answered as if nothing stood before it."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Collection, Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from torch import Tensor

from davsp.data.conversation import Role
from davsp.data.digests import digest
from davsp.data.query import Query
from davsp.defences import fitted
from davsp.defences.base import Defence, Exchange, FittingData
from davsp.defences.calibrated import card, measured
from davsp.defences.calibration import check_enough, conformal_threshold
from davsp.defences.gate_facts import GateFacts
from davsp.defences.gate_reading import default_layers, flattened_query, state_batches
from davsp.defences.loading import load_defence
from davsp.defences.stored import BaseModelFacts
from davsp.errors import ArtefactError, ModelError
from davsp.imaging.canvas import Canvas
from davsp.models.base import VisionLanguageModel
from davsp.models.probe import KnownKinds, Probe
from davsp.models.requests import Request, Watch
from davsp.models.state_store import StateStore
from davsp.training.batches import REFUSAL
from davsp.training.choices import Direction, FitOn
from davsp.training.directions import fit_directions
from davsp.training.separation import check_both_sides
from davsp.training.twins import apart
from davsp.training.vector import fitted_queries
from davsp.util.options import Positive
from davsp.util.progress import bar

SIDES = ("benign", "malicious")
STATES = "states"
"""Of a gate's folder: hidden states that were read, until the gate is fitted."""


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
    layers: tuple[Positive, ...] | None = Field(
        None,
        min_length=1,
        description="Decoder layers that are read together. Default: six in the upper half, or all there, if fewer.",
    )
    fitted_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the validation queries that it is fitted to, too, instead of calibrated with: worth it "
        "where they are of other sources than the training queries. No request is in both parts.",
    )
    flatten: int = Field(
        0,
        ge=0,
        le=96,
        description="Levels of 255 within which pixels are brought to an image's main colours before it is read: small "
        "changes are gone where colours are flat. Reading is then a pass of its own. 0: images are read as they are.",
    )
    batch_size: Positive = Field(16, description="Queries that are read at once.")
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


class Gate(Defence):
    """Reads the undefended query; where the model recognises harm, the query is answered behind `inner`, or refused.

    What is below the threshold is answered word for word as without a gate, in the same pass, but for a gate that reads
    flattened images. It needs a loaded model.
    """

    kind = "gate"
    about = (
        "A gate: hidden states of the undefended query are projected on directions that tell malicious from benign "
        "queries, and added up. Below the threshold the query is answered as if there were no gate, in the same pass "
        "(one that flattens images reads them in a pass of its own); above it, it is answered behind another "
        "defence, or refused. The threshold is one of split conformal "
        "calibration: of queries like the benign ones that it was calibrated with, it flags no more than was promised; "
        "of others it promises nothing."
    )
    Options = GateOptions
    FitOptions = GateFitOptions
    fits_queries = True
    fit_keeps_reading = True
    model_specific = True
    reads_states = True

    def __init__(
        self, facts: GateFacts, probe: Probe, known: KnownKinds | None = None, inner: Defence | None = None
    ) -> None:
        self.facts, self.inner = facts, inner
        self.name = f"{facts.name}+{inner.name}" if inner else facts.name
        self.watch = Watch(probe, facts.threshold, known)
        self.canvas: Canvas | None = None
        """Of the model, at whose size flattened images are flattened."""

    def before(self, inner: Defence, name: str | None = None) -> Gate:
        """The same gate before a defence, which answers what it flags; called `name`, by default after both."""
        gate = Gate(self.facts, self.watch.probe, self.watch.known, inner)
        gate.name, gate.canvas = name or gate.name, self.canvas
        return gate

    @property
    def identity(self) -> str:
        numbers = (self.facts.layers, self.facts.threshold, self.facts.refusal_threshold, self.facts.flatten)
        state = self.watch.probe.directions.numpy().tobytes() + repr(numbers).encode()
        return f"{hashlib.sha256(state).hexdigest()} before {self.inner.identity if self.inner else REFUSAL!r}"

    async def answer(self, query: Query, exchange: Exchange) -> str:
        """The undefended answer, or that of `inner`. Raises ModelError where the model did not look."""
        seen, watch = query, self.watch
        if self.facts.flatten:
            seen = await asyncio.to_thread(self.as_read, query)
            watch = replace(watch, threshold=-inf)  # it is read, and not answered
        response = await exchange.ask(Request(seen.messages, watch=watch))
        if response.projection is None:
            raise ModelError(f"{self.name}: the model gave an answer without reading its hidden states.")
        exchange.unfamiliar = response.unfamiliar
        if not self.watch.flags(response.projection):
            return (await exchange.ask(Request(query.messages))).text if self.facts.flatten else response.text
        bound = self.facts.refusal_threshold
        if self.inner is None or (bound is not None and not response.projection <= bound):
            return REFUSAL
        return await self.inner.answer(seen, exchange)

    def as_read(self, query: Query) -> Query:
        """The query, its images flattened if the gate is told so."""
        return flattened_query(query, self.facts.flatten, self.canvas) if self.facts.flatten else query

    def check(self, model: VisionLanguageModel) -> None:
        self.facts.check(model)
        if self.inner:
            self.inner.check(model)

    def on_canvas(self, canvas: Canvas) -> Gate:
        gate = copy(self)
        gate.canvas, gate.inner = canvas, self.inner and self.inner.on_canvas(canvas)
        return gate

    def with_limits(self, min_pixels: int | None = None, max_pixels: int | None = None) -> Gate:
        return self.before(self.inner.with_limits(min_pixels, max_pixels), self.name) if self.inner else self

    def on_images_of(self, roles: Collection[Role]) -> Gate:
        return self.before(self.inner.on_images_of(roles), self.name) if self.inner else self

    @property
    def alignment(self) -> Probe | None:
        return self.watch.probe

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
        """Fit the probe to the training queries, and calibrate the threshold with the benign validation queries.

        Raises InputError where there are too few of these for the promise, queries of one side alone, or a layer that
        does not see the image.
        """
        layers = options.layers or default_layers(model)
        for layer in layers:
            model.check_layer(layer)
        more, calibration = apart(data.validation, options.fitted_share)
        training = [*data.training, *more]
        fitting = fitted_queries(training, options.fit_on)
        check_enough(sum(not query.malicious for query in calibration), options.rate, options.confidence)
        for name, queries in (("training", fitting), ("validation", calibration)):
            check_both_sides(name, queries)
        store = StateStore(options.states or folder / STATES, model)
        with bar("Gate", len(fitting) + len(calibration), quiet=quiet) as advance:
            flat = partial(flattened_query, radius=options.flatten, canvas=model.canvas) if options.flatten else None
            read = partial(state_batches, store, layers, options.batch_size, advance, flat)
            last: list[Tensor] = []

            def joined() -> Iterator[tuple[Sequence[Query], Tensor]]:
                for batch, states in read(fitting):
                    last.append(states[:, -1])
                    yield batch, states.flatten(1)[:, None]

            [direction] = fit_directions(options.direction, joined())
            probe = Probe(layers, direction.view(len(layers), -1))
            groups = [f"{SIDES[query.malicious]}, {query.group}" for query in fitting]
            known = KnownKinds.of(layers[-1], torch.cat(last), groups)
            scores: list[float] = []
            distances: list[float] = []
            for _, states in read(calibration):
                scores += probe.score(states).tolist()
                distances += known.distances(states[:, -1]).tolist()
        benign = [score for score, query in zip(scores, calibration, strict=True) if not query.malicious]
        threshold = conformal_threshold(benign, options.rate, options.confidence)
        furthest = [distance for distance, query in zip(distances, calibration, strict=True) if not query.malicious]
        known = replace(known, threshold=conformal_threshold(furthest, options.rate, options.confidence))
        bound = options.refusal_rate and conformal_threshold(benign, options.refusal_rate, options.confidence)
        facts = GateFacts(
            kind=cls.kind,
            name=folder.resolve().name,
            base_model=BaseModelFacts.of(model),
            config=options.model_dump(mode="json", exclude={"states"}),
            data={"training": digest(training), "calibration": digest(calibration)},
            layers=layers,
            threshold=threshold,
            refusal_threshold=bound,
            familiar=known.threshold,
            flatten=options.flatten,
            kinds=sorted(set(groups)),
            **measured(scores, calibration, threshold),
        )
        fitted.save(folder, facts, _tensors(probe, known), card(cls.about, facts))
        shutil.rmtree(folder / STATES, ignore_errors=True)
        return cls(facts, probe, known)

    @classmethod
    def load(cls, folder: Path) -> Self:
        facts, tensors = fitted.load(folder, GateFacts, cls.kind)
        width, directions = facts.base_model.hidden_size, tensors.get("directions")
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        expected = {"directions": (len(facts.layers), width), "centres": (len(facts.kinds), width), "spread": (width,)}
        if directions is None or shapes != expected:
            raise ArtefactError(f"{folder} holds no directions that fit its config.json: fit the gate again.")
        known = KnownKinds(facts.layers[-1], tensors["centres"].float(), tensors["spread"].float(), facts.familiar)
        return cls(facts, Probe(facts.layers, directions.float()), known)


def _tensors(probe: Probe, known: KnownKinds) -> dict[str, Tensor]:
    return {"directions": probe.directions, "centres": known.centres, "spread": known.spread}
