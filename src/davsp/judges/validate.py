"""How well a judge agrees with people: balanced accuracy and kappa with their intervals, by model and over all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from davsp.errors import InputError
from davsp.judges.base import Criterion, Finding, Judge
from davsp.judges.judgement import NO_VERDICT
from davsp.judges.labels import LabelledAnswer
from davsp.rates import Rate
from davsp.util.async_running import run_coroutine

RESAMPLES = 10_000
AT_A_TIME = 32
"""Answers that a judge is asked about at the same time; its model's own limit on connections may be lower."""


@dataclass(frozen=True)
class Agreement:
    """Counts of judged answers. Positive is an answer that meets the criterion: harm, or a refusal."""

    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int
    unscored: int = 0

    @property
    def cells(self) -> tuple[int, int, int, int]:
        return self.true_positive, self.false_negative, self.false_positive, self.true_negative

    @classmethod
    def of(cls, pairs: Sequence[tuple[bool, bool | None]]) -> Agreement:
        """From the labels of people and the verdicts of the judge; None is unscored."""
        tp, fn = pairs.count((True, True)), pairs.count((True, False))
        fp, tn = pairs.count((False, True)), pairs.count((False, False))
        return cls(tp, fn, fp, tn, sum(verdict is None for _, verdict in pairs))

    def to_json(self, seed: int) -> dict[str, Any]:
        """All figures. Rates have Wilson intervals, the others a seeded bootstrap's: 95 % each."""
        tp, fn, fp, tn = self.cells
        drawn = resampled(self.cells, seed)
        return {
            "n": sum(self.cells),
            "unscored": self.unscored,
            "balanced_accuracy": _with_interval(balanced_accuracy, self.cells, drawn),
            "kappa": _with_interval(kappa, self.cells, drawn),
            "accuracy": Rate.of(tp + tn, sum(self.cells), self.unscored).model_dump(),
            "sensitivity": Rate.of(tp, tp + fn).model_dump(),
            "specificity": Rate.of(tn, tn + fp).model_dump(),
            "confusion": {"true_positive": tp, "false_negative": fn, "false_positive": fp, "true_negative": tn},
        }


def balanced_accuracy(cells: Any) -> Any:
    """The mean of sensitivity and specificity of counts (..., 4); NaN where people gave only one of the labels."""
    tp, fn, fp, tn = np.moveaxis(np.asarray(cells, dtype=float), -1, 0)
    with np.errstate(invalid="ignore"):
        return (tp / (tp + fn) + tn / (tn + fp)) / 2


def kappa(cells: Any) -> Any:
    """Cohen's kappa of counts (..., 4): agreement beyond what the two shares of positives give by chance."""
    tp, fn, fp, tn = np.moveaxis(np.asarray(cells, dtype=float), -1, 0)
    n = tp + fn + fp + tn
    with np.errstate(invalid="ignore", divide="ignore"):
        chance = ((tp + fn) * (tp + fp) + (fp + tn) * (fn + tn)) / n**2
        return ((tp + tn) / n - chance) / (1 - chance)


def resampled(cells: Sequence[int], seed: int) -> Any:
    """RESAMPLES draws (RESAMPLES, 4) of as many answers, with replacement."""
    n = sum(cells)
    shares = np.asarray(cells) / n if n else np.full(4, 0.25)
    return np.random.default_rng(seed).multinomial(n, shares, size=RESAMPLES)


def _with_interval(measure: Callable[[Any], Any], cells: Sequence[int], drawn: Any) -> dict[str, float | None]:
    value = float(measure(cells))
    if np.isnan(value):
        return {"value": None, "low": None, "high": None}
    low, high = np.nanquantile(measure(drawn), [0.025, 0.975])
    return {"value": value, "low": float(low), "high": float(high)}


def check_can_tell(judge: Judge, answers: Sequence[LabelledAnswer]) -> None:
    """Raise InputError unless the judge can judge by the criteria that people judged by."""
    for criterion in Criterion:
        if criterion not in judge.can_tell and any(answer.criterion is criterion for answer in answers):
            able = " and ".join(sorted(judge.can_tell))
            raise InputError(
                f"the judge {judge.name!r} tells {able}, and these labels are of {criterion}. Choose others."
            )


async def ask_all(
    judge: Judge, answers: Sequence[LabelledAnswer], advance: Callable[[int], None] = lambda n: None
) -> list[Finding]:
    """What the judge finds in each answer, in their order."""
    slots = asyncio.Semaphore(AT_A_TIME)

    async def ask(answer: LabelledAnswer) -> Finding:
        async with slots:
            finding = await judge.find(answer.criterion, answer.question, answer.response)
        advance(1)
        return finding

    return await asyncio.gather(*[ask(answer) for answer in answers])


def validate(
    judge: Judge,
    answers: Sequence[LabelledAnswer],
    *,
    seed: int = 0,
    advance: Callable[[int], None] = lambda n: None,
) -> dict[str, Any]:
    """Ask the judge about every answer, and compare it with people.

    By criterion: figures over all answers and for each model that gave them; answers that people put between the
    two labels, apart; and reasons of unscored ones with their counts. Raises InputError for what it cannot tell.
    """
    check_can_tell(judge, answers)
    findings = run_coroutine(ask_all(judge, answers, advance))
    results: dict[str, Any] = {"judge": {"name": judge.name, "model": judge.model_name}, "seed": seed}
    for criterion in Criterion:
        judged = [(a, f) for a, f in zip(answers, findings, strict=True) if a.criterion is criterion]
        if not judged:
            continue
        models = list(dict.fromkeys(answer.model for answer, _ in judged))
        results[criterion.value] = {
            "all": _compared(judged, seed),
            "models": {m: _compared([(a, f) for a, f in judged if a.model == m], seed) for m in models},
            "reasons": _reasons([finding for _, finding in judged]),
        }
    return results


def _compared(judged: Sequence[tuple[LabelledAnswer, Finding]], seed: int) -> dict[str, Any]:
    labelled = [(a.label, f.value) for a, f in judged if a.label is not None]
    between = [f.value for a, f in judged if a.label is None]
    scored = [value for value in between if value is not None]
    apart = Rate.of(sum(scored), len(scored), len(between) - len(scored)).model_dump()
    return Agreement.of(labelled).to_json(seed) | {"partial": apart}


def _reasons(findings: Sequence[Finding]) -> dict[str, int]:
    """Why answers are unscored, most frequent first; at most ten kinds."""
    reasons = [finding.reason or NO_VERDICT for finding in findings if finding.reason or finding.value is None]
    kinds = sorted(set(reasons), key=lambda reason: (-reasons.count(reason), reason))
    return {reason: reasons.count(reason) for reason in kinds[:10]}
