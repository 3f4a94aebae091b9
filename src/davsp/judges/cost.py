"""What judging will cost, told before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from davsp.judges.base import Criterion, Judge

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


def cost_of(judge: Judge, exchanges: Sequence[tuple[Criterion, str, str]]) -> JudgingCost:
    """The cost of asking a judge about (criterion, question, response), where it can tell."""
    judged = [exchange for exchange in exchanges if judge.model_name and exchange[0] in judge.can_tell]
    return cost_of_calls(
        f"Judge {judge.name}",
        judge.model_name or "no model",
        [judge.prompt_length(*exchange) for exchange in judged],
        judge.max_reply_tokens,
    )


def cost_of_calls(who: str, model: str, prompt_lengths: Sequence[int], reply_tokens: int) -> JudgingCost:
    """The cost of a call for every prompt, whose lengths are in characters; `who` judges or grades."""
    tokens = sum(-(-length // CHARACTERS) for length in prompt_lengths)
    return JudgingCost(who, model, len(prompt_lengths), tokens, len(prompt_lengths) * reply_tokens)
