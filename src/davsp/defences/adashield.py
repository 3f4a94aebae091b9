"""AdaShield: an instruction beside the question. S: one for all. A: the nearest of a pool, which a defender writes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from davsp.data.query import Query
from davsp.defences import fitted
from davsp.defences.adashield_instruction import INSTRUCTION, Order, instruct
from davsp.defences.adashield_refinement import AdaShieldAOptions, PoolEntry, Refinement, prompt_function
from davsp.defences.base import Exchange, FittingData, RewritingDefence
from davsp.defences.helpers import Clip
from davsp.defences.stored import BaseModelFacts
from davsp.errors import ArtefactError, InputError, ModelError
from davsp.imaging.opening import open_image
from davsp.models.base import VisionLanguageModel
from davsp.models.requests import Request
from davsp.training import loop


class AdaShieldSOptions(BaseModel):
    """The instruction, and where it stands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: Order = Field(
        Order.FIRST,
        description="Where the instruction stands: first, before the question, or between it and the question again.",
    )
    instruction: str = Field(INSTRUCTION, description="The instruction that goes with every question.")


class AdaShieldS(RewritingDefence):
    """One instruction for every query."""

    kind = "adashield-s"
    Options = AdaShieldSOptions

    def __init__(self, options: AdaShieldSOptions) -> None:
        self.options = options
        # The two orders are two defences.
        self.name = self.kind if options.order is Order.FIRST else f"{self.kind}:order={options.order}"

    @classmethod
    def from_options(cls, options: AdaShieldSOptions) -> Self:
        return cls(options)

    @property
    def identity(self) -> str:
        return self.options.model_dump_json()

    def defend(self, query: Query) -> Query:
        return instruct(query, self.options.instruction, self.options.order)


class PoolFacts(fitted.FittedFacts):
    """The pool, in the order of the embeddings' rows."""

    clip: str
    order: Order
    pool: list[PoolEntry]


class AdaShieldA(RewritingDefence):
    """Every query gets the instruction of the pool's query that is nearest to it in CLIP's space.

    `embeddings`: float32 (N, width), unit rows, one for each entry of the pool.
    """

    kind = "adashield-a"
    about = (
        "AdaShield-A: a pool of instructions, written for this model by a defender model. A query gets the instruction "
        "of the training query that is nearest to it, image and text, in CLIP's space."
    )
    FitOptions = AdaShieldAOptions
    fits_queries = True
    model_specific = True

    def __init__(self, facts: PoolFacts, embeddings: Tensor, clip: Clip) -> None:
        self.name, self.facts, self.embeddings, self.clip = facts.name, facts, embeddings, clip

    @property
    def identity(self) -> str:
        return f"{self.facts.model_dump_json(include={'clip', 'order', 'pool', 'weights_sha256'})} {self.clip.identity}"

    def check(self, model: VisionLanguageModel) -> None:
        """Raise ArtefactError when it was fitted for another model than `model`."""
        self.facts.check(model)

    def defend(self, query: Query) -> Query:
        """The query with the instruction that is nearest to its question and one of its images. Raises InputError when
        there is none, or one cannot be read."""
        images = [open_image(image, what=query.id) for image in query.images]
        if not images:
            raise InputError(f"query {query.id}: {self.kind} finds an instruction by an image, and there is none.")
        near = torch.stack([self.embeddings @ self.clip.embed(image, query.question) for image in images])
        nearest = int(near.amax(0).argmax())
        return instruct(query, self.facts.pool[nearest].instruction, self.facts.order)

    async def answer(self, query: Query, exchange: Exchange) -> str:
        """The model's answer to the instructed query; finding its instruction is a call of a helper model."""
        defended = await exchange.consult(partial(self.defend, query))
        return (await exchange.ask(Request(defended.messages))).text

    @classmethod
    def fit(
        cls,
        model: VisionLanguageModel,
        options: AdaShieldAOptions,
        data: FittingData,
        folder: Path,
        *,
        quiet: bool = False,
        defender: Callable[[str], str] | None = None,
    ) -> Self:
        """Write the pool, going on from the state in `folder`, and save it there under the folder's name.

        `defender` takes the place of the Inspect model in the options. Raises ModelError when no instruction is
        accepted, and what `Refinement` and `loop.run` raise.
        """
        clip = Clip(options.clip, options.device)
        defender = defender or prompt_function(options.defender)
        refinement = Refinement(model, options, data.training, data.validation, defender, clip)
        loop.run(refinement, folder, title=f"Fitting {folder.name}", save_every=1, quiet=quiet)
        pool = refinement.pool
        if not pool:
            raise ModelError(
                f"no instruction was accepted for any of {refinement.steps} queries (at least {options.accepted:.0%} "
                "of the validation queries must be refused): try another defender, more rounds, or a lower `accepted`."
            )
        facts = PoolFacts(
            kind=cls.kind,
            name=folder.resolve().name,
            base_model=BaseModelFacts.of(model),
            config=options.model_dump(mode="json"),
            data=refinement.digests(),
            metrics={
                "queries": refinement.steps,
                "accepted": len(pool) / refinement.steps,
                "instructions": len({entry.instruction for entry in pool}),
                "refused": sum(entry.refused for entry in pool) / len(pool),
            },
            clip=options.clip,
            order=options.order,
            pool=pool,
        )
        fitted.save(folder, facts, {"embeddings": torch.stack(refinement.embeddings)}, cls.about)
        return cls.load(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a fitted pool and load its CLIP. Raises ArtefactError or ModelError when either is not there."""
        facts, tensors = fitted.load(folder, PoolFacts, cls.kind)
        embeddings = tensors.get("embeddings")
        if embeddings is None or not facts.pool or len(embeddings) != len(facts.pool):
            raise ArtefactError(f"{folder}: instructions and embeddings do not fit together: fit it again.")
        return cls(facts, embeddings.float(), Clip(facts.clip))
