"""Attacks that know nothing of a model: tables of ways to rewrite a query."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from davsp.attacks.base import Attack, Attacked, AttackOptions, Knowledge
from davsp.data.query import Query
from davsp.errors import InputError

ALL = "all"
VARIANT = "variant"
"""The metadata of a rewritten query that name how it was rewritten."""
Rewrite = Callable[[Query, random.Random], Query]
"""A query rewritten; what is drawn for it is drawn by the generator. It keeps id, label, answer and metadata."""


class VariantOptions(AttackOptions):
    """Which of the table."""

    variants: str = Field(
        ALL, min_length=1, description="A variant, several with + between, or all: each query is rewritten in each."
    )


class VariantAttack(Attack):
    """Every query in each of the chosen variants. Of several, the id and the group of a query name the variant."""

    Options = VariantOptions
    VARIANTS: ClassVar[Mapping[str, Rewrite]]

    def __init__(self, options: Any, knowledge: Knowledge, seed: int) -> None:
        """Raises InputError for a variant that there is not."""
        super().__init__(options, knowledge, seed)
        asked = list(self.VARIANTS) if options.variants == ALL else options.variants.split("+")
        if unknown := next((name for name in asked if name not in self.VARIANTS), None):
            raise InputError(f"{self.kind} has no variant {unknown!r}. Choose from {', '.join(self.VARIANTS)}.")
        self.chosen: tuple[str, ...] = tuple(dict.fromkeys(asked))

    def attack(self, queries: Sequence[Query]) -> list[Attacked]:
        return [Attacked(tuple(self._rewritten(query, name) for name in self.chosen)) for query in queries]

    def _rewritten(self, query: Query, name: str) -> Query:
        rng = random.Random(f"{self.seed}/{query.id}/{name}")  # noqa: S311 - a choice of looks, no secret
        try:
            made = self.VARIANTS[name](query, rng)
        except InputError as error:
            raise InputError(f"query {query.id}, {self.kind} {name}: {error}") from error
        made = replace(made, metadata={**made.metadata, VARIANT: name})
        if len(self.chosen) == 1:
            return made
        side, slash, _ = query.group.partition("/")
        side = side if slash else "malicious" if query.malicious else "benign"
        return replace(made, id=f"{query.id}/{name}", group=f"{side}/{name}")
