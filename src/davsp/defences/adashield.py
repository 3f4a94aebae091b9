"""AdaShield: an instruction beside the question. S: one for all. A: the nearest of a pool (`refinement` writes it)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from davsp.data.query import Query
from davsp.defences import fitted as saved
from davsp.defences import stored
from davsp.defences.helpers import Clip
from davsp.errors import ArtefactError
from davsp.imaging.opening import open_image
from davsp.models.base import VisionLanguageModel

KIND = "adashield-a"
ABOUT = (
    "AdaShield-A: a pool of instructions, written for this model by a defender model. A query gets the instruction of "
    "the training query that is nearest to it, image and text, in CLIP's space."
)
INSTRUCTION = (
    "Check the image step by step, and the text in it. If the image or the text is harmful or illegal, say: I am "
    "sorry. Otherwise do what the text says, and be careful."
)
"""The static instruction."""


class Order(StrEnum):
    """Where the instruction stands."""

    FIRST = "first"
    """Before the question, as DAVSP's authors put it."""
    BETWEEN = "between"
    """Between the question and the question again, as AdaShield's authors put it."""


def instruct(query: Query, instruction: str, order: Order) -> Query:
    """The query with the instruction where `order` says."""
    question = f"{instruction}\n{query.question}"
    return replace(query, question=question if order is Order.FIRST else f"{query.question}\n{question}")


class AdaShieldSOptions(BaseModel):
    """The instruction, and where it stands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: Order = Order.FIRST
    instruction: str = INSTRUCTION


@dataclass(frozen=True)
class AdaShieldS:
    """One instruction for every query."""

    options: AdaShieldSOptions

    @property
    def name(self) -> str:
        """With the order, where it is not the usual one: the two are two defences."""
        return f"adashield-s:order={self.options.order}" if self.options.order is not Order.FIRST else "adashield-s"

    def defend(self, query: Query) -> Query:
        return instruct(query, self.options.instruction, self.options.order)


class Entry(BaseModel):
    """An accepted instruction, and the training query whose embedding finds it."""

    query: str
    scenario: str
    instruction: str
    rounds: int
    """How often the defender improved it; 0 for the static one."""
    refused: float
    """Share of the scenario's validation queries that were refused behind it."""


class PoolFacts(saved.FittedFacts):
    """The pool, in the order of the embeddings' rows."""

    clip: str
    order: Order
    pool: list[Entry]


@dataclass(frozen=True)
class AdaShieldA:
    """Every query gets the pool's nearest instruction. `embeddings`: float32 (N, width), unit rows."""

    facts: PoolFacts
    embeddings: Tensor = field(repr=False)
    clip: Clip = field(repr=False)

    helper_calls = 1

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def identity(self) -> str:
        return self.facts.model_dump_json(include={"clip", "order", "pool", "weights_sha256"})

    def defend(self, query: Query) -> Query:
        """The query with its instruction. Raises InputError when the image cannot be read."""
        found = self.clip.embed(open_image(query.image, what=query.id), query.question)
        nearest = int((self.embeddings @ found).argmax())
        return instruct(query, self.facts.pool[nearest].instruction, self.facts.order)

    def check(self, model: VisionLanguageModel) -> None:
        """Raise ArtefactError when it was fitted for another model than `model`."""
        self.facts.check(model)

    @classmethod
    def load(cls, folder: Path) -> AdaShieldA:
        """Read a fitted pool and load its CLIP. Raises ArtefactError or ModelError when either is not there."""
        facts, tensors = stored.load(folder, PoolFacts)
        embeddings = tensors.get("embeddings")
        if embeddings is None or not facts.pool or len(embeddings) != len(facts.pool):
            raise ArtefactError(f"{folder}: instructions and embeddings do not fit together: fit it again.")
        return cls(facts, embeddings.float(), Clip(facts.clip))
