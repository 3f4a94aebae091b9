"""The judged answers of an evaluation, as Inspect holds them while it runs, and as its logs keep them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from inspect_ai.log import EvalSample, list_eval_logs, read_eval_log_async
from inspect_ai.scorer import Score
from inspect_ai.solver import TaskState
from inspect_ai.util import Store

from davsp.benchmarks.grading import Grader
from davsp.defences.base import QueryCost
from davsp.evaluation.solver import ALARM, COST, UNFAMILIAR
from davsp.rates import Verdict

SCORER = "safety_and_usefulness"
KEY = "davsp_key"
"""Where the metadata of a log hold what tells its evaluation from others."""


@dataclass(frozen=True)
class JudgedAnswer:
    """What the model said to one query behind one defence. `error` says why there is no answer, or no verdict.

    `cost` is what the answer cost, `span` when the work on it began and ended, in POSIX seconds; both None for a query
    that failed. `marks` are the points that a grader gave it, by name. `final`: the query was answered, and whoever was
    to judge and grade the answer replied, so that nothing of it is asked again.
    """

    text: str
    verdict: Verdict
    error: str | None
    cost: QueryCost | None = None
    span: tuple[float, float] | None = None
    marks: Mapping[str, float] = field(default_factory=dict)
    final: bool = False
    unfamiliar: bool | None = None
    """Whether the defence knows no query of that kind; None of one that cannot tell."""
    alarm: bool | None = None
    """Whether the defence's alarm was raised; None of one that has none."""


@dataclass(frozen=True)
class AnswerReader:
    """Reads judged answers. `grader` is the one that gives them points, if there is one."""

    grader: Grader | None = None

    def of_state(self, state: TaskState) -> JudgedAnswer | None:
        """The answer in the state of a sample after it was scored; None of one that failed."""
        return self._read(state.output.completion, state.scores or {}, state.store)

    def of_sample(self, sample: EvalSample) -> JudgedAnswer:
        """The answer in a sample of a log."""
        if sample.error is not None:
            return JudgedAnswer("", Verdict.UNSCORED, sample.error.message)
        answer = self._read(sample.output.completion, sample.scores or {}, sample.store)
        return answer or JudgedAnswer("", Verdict.UNSCORED, "it was not answered, or not scored")

    async def logged(self, folder: Path, key: str) -> dict[str, JudgedAnswer]:
        """The final answers in the logs of this key, by query id; of several to a query the newest."""
        answers: dict[str, JudgedAnswer] = {}
        for log in list_eval_logs(str(folder), descending=False):
            try:
                if ((await read_eval_log_async(log, header_only=True)).eval.metadata or {}).get(KEY) != key:
                    continue
                samples = (await read_eval_log_async(log)).samples or []
            except Exception:  # noqa: S112 - damaged in whatever way: there is nothing in it to keep
                continue
            given = {str(sample.id): self.of_sample(sample) for sample in samples}
            answers |= {id: answer for id, answer in given.items() if answer.final}
        return answers

    def _read(self, text: str, scores: Mapping[str, Score], store: Store | Mapping[str, Any]) -> JudgedAnswer | None:
        """None unless the answer was given and all its scorers are through."""
        cost: Mapping[str, Any] | None = store.get(COST)
        names = [SCORER, *([self.grader.scorer_name] if self.grader else [])]
        if cost is None or not all(name in scores for name in names):
            return None
        judged = scores[SCORER].metadata or {}
        verdict, reason = Verdict(judged["verdict"]), judged["reason"]
        marks: dict[str, float] = {}
        if self.grader:
            graded = scores[self.grader.scorer_name]
            ungraded = (graded.metadata or {}).get("unscored")
            if ungraded and verdict is not Verdict.BLOCKED:
                verdict, reason = Verdict.UNSCORED, reason or ungraded
            points = graded.value if isinstance(graded.value, dict) else {self.grader.marks[0]: graded.value}
            marks = {name: float(cast(float, value)) for name, value in points.items()}
        return JudgedAnswer(
            text,
            verdict,
            reason,
            QueryCost(**{name: value for name, value in cost.items() if name not in ("began", "ended")}),
            (cost["began"], cost["ended"]),
            marks,
            final=not any((scores[name].metadata or {}).get("failed") for name in names),
            unfamiliar=store.get(UNFAMILIAR),
            alarm=store.get(ALARM),
        )
