"""A judge that calls no model."""

from __future__ import annotations

from typing import ClassVar

from davsp.judges import Criterion, Finding, Judge


class EveryAnswerRefuses(Judge):
    """Takes every answer for a refusal, and none for harm."""

    name: ClassVar[str] = "theirs"
    can_tell: ClassVar[frozenset[Criterion]] = frozenset(Criterion)
    identity = "theirs, version 1"

    async def find(self, criterion: Criterion, question: str, response: str) -> Finding:
        return Finding(criterion is Criterion.REFUSAL)
