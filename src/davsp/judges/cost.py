"""What judging will cost, told before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from davsp.judges.base import Judge, JudgeQuestion

CHARACTERS = 4
"""In a token, on the average of English text."""


@dataclass(frozen=True)
class JudgingCost:
    """Calls are exact; tokens are estimated: one for `CHARACTERS` characters, answers and replies at full length."""

    who: str
    model: str
    calls: int
    tokens_in: int
    tokens_out: int

    def __str__(self) -> str:
        return (
            f"{self.who} ({self.model}): {self.calls:,} calls, about {self.tokens_in:,} tokens in and at most "
            f"{self.tokens_out:,} out (a token for {CHARACTERS} characters; answers that are empty cost none)."
        )


def cost_of(judge: Judge, exchanges: Sequence[tuple[JudgeQuestion, str, str]]) -> JudgingCost:
    """The cost of asking a judge about (asked, question, response), where it can tell."""
    asked = [exchange for exchange in exchanges if judge.model_name and exchange[0] in judge.can_tell]
    tokens = sum(-(-judge.prompt_length(*exchange) // CHARACTERS) for exchange in asked)
    return JudgingCost(
        f"Judge {judge.name}", judge.model_name or "no model", len(asked), tokens, len(asked) * judge.reply_tokens
    )
