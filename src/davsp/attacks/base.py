"""What every attack is: options, what it knows, and what it makes of a query."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from davsp.attacks.pipeline import Pipeline
from davsp.data.query import Query
from davsp.errors import InputError
from davsp.models.base import VisionLanguageModel
from davsp.util.options import Positive

AFFIRMATIVE = "Sure, here is"


class AttackOptions(BaseModel):
    """Of an attack without options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SearchOptions(AttackOptions):
    """Of one that is steered by what the model says."""

    affirmative: str = Field(
        AFFIRMATIVE,
        min_length=1,
        description="The beginning of the answer that is wanted of a query that brings no forbidden answer of its own "
        "(`forbidden`) and that the model refuses undefended; of one that it answers, that answer is wanted.",
    )
    tokens: Positive = Field(16, description="So many tokens of the answer are wanted, from its first on.")


@dataclass(frozen=True)
class Attacked:
    """What an attack made of one query: one rewritten query or, in several forms, more.

    steps and calls: what it took, calls being forward passes of one query through the model. broken_at: the step after
    which the model gave the wanted answer behind all that was attacked, by its first choices; None if it never did, or
    that was not looked for.
    """

    queries: tuple[Query, ...]
    steps: int = 0
    calls: int = 0
    broken_at: int | None = None


@dataclass(frozen=True)
class Knowledge:
    """What an attack may know: the model and the pipelines that it is run against, none for one that needs no model.

    Of several pipelines, all are to give in at once.
    """

    model: VisionLanguageModel | None = None
    pipelines: tuple[Pipeline, ...] = ()


class Attack(ABC):
    """A way of rewriting queries. A class is registered under its `kind`, as an entry point of "davsp.attacks"."""

    kind: ClassVar[str]
    about: ClassVar[str]
    """What it is, in a sentence."""
    Options: ClassVar[type[BaseModel]] = AttackOptions
    """What a user gives by --set name=value, or after the name, "pgd:eps=8"."""
    reads_model: ClassVar[bool] = False
    """Whether it needs a loaded model. It then rewrites malicious queries alone, one without rewrites all: what benign
    ones come to tells whether the model can read them in that form."""
    traces: ClassVar[bool] = False
    """Whether it looks after every step whether a query is broken."""

    def __init__(self, options: Any, knowledge: Knowledge, seed: int) -> None:
        if self.reads_model and knowledge.model is None:
            raise InputError(f"{self.kind} reads a model's gradient or scores: it needs a loaded model.")
        self.options, self.knowledge, self.seed = options, knowledge, seed

    @property
    def model(self) -> VisionLanguageModel:
        """The model of one that reads it."""
        assert self.knowledge.model is not None
        return self.knowledge.model

    def prepare(self, queries: Sequence[Query], folder: Path, quiet: bool) -> None:  # noqa: B027
        """What is done once, before the first query; a state that takes long is kept in `folder`."""

    @abstractmethod
    def attack(self, queries: Sequence[Query]) -> list[Attacked]:
        """What becomes of a batch of queries, in order. It depends on each query and the seed, and on the batch by no
        more than how the model rounds.

        Raises InputError for a query that cannot be attacked so.
        """
