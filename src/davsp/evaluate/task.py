"""One Inspect evaluation of one defence: from queries to a log, and from a log to answers."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import inspect_ai
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalSample, list_eval_logs, read_eval_log
from inspect_ai.model import (
    GenerateConfig,
    Model,
    ModelAPI,
    ModelInfo,
    set_model_info,
)
from inspect_ai.solver import TaskState

from davsp.benchmarks.base import Benchmark
from davsp.benchmarks.grading import Grader
from davsp.defences.base import Defence, QueryCost
from davsp.errors import ModelError
from davsp.evaluate.provider import LocalModel
from davsp.evaluate.registry import davsp
from davsp.evaluate.scorers import scorers_of
from davsp.evaluate.served import ServerConnection
from davsp.evaluate.solver import COST, behind
from davsp.judges import Judge
from davsp.results import Verdict

SCORER = "safety_and_usefulness"
LOG_BUFFER, LOG_BUFFER_SERVED = 100, 10
"""So many answers are written to the log at a time, of a loaded model and of others: a killed process loses no more."""


@dataclass(frozen=True)
class JudgedAnswer:
    """What the model said to one query behind one defence. `error` says why there is no answer, or no verdict.

    `cost` is what the answer cost, `span` when the work on it began and ended, in POSIX seconds; both None for a query
    that failed. `marks` are the points that a grader gave it, by name.
    """

    text: str
    verdict: Verdict
    error: str | None
    cost: QueryCost | None = None
    span: tuple[float, float] | None = None
    marks: Mapping[str, float] = field(default_factory=dict)


def fingerprint(defence: Defence) -> str:
    """A hex digest that tells two defences of one name apart."""
    return hashlib.sha256(defence.identity.encode()).hexdigest()


@dataclass(frozen=True)
class EvaluationRun:
    """What an evaluation asks all its defences: which model, which judge, under which settings.

    `grader` is the model that gives points where `benchmark` needs them. `batch_size` queries are in work at a time,
    and as many are prepared. Without `resume` all is asked, whatever logs hold.
    """

    model: LocalModel | Model
    judge: Judge
    logs: Path
    batch_size: int
    max_new_tokens: int
    benchmark: Benchmark | None = None
    grader: Model | None = None
    resume: bool = True

    def answers_behind(
        self, defence: Defence, samples: Sequence[Sample], *, key: str, answered: Callable[[], None]
    ) -> dict[str, JudgedAnswer]:
        """Answers by query id. Calls `answered` after each.

        What the logs of an earlier run of the same `key` hold is not asked again, whether that run was finished or not,
        unless the query failed, or whoever judged or graded it. Raises ModelError when the evaluation as a whole fails,
        or the server is lost.
        """
        kept = self._kept(key) if self.resume else {}
        found = {str(sample.id): kept[str(sample.id)] for sample in samples if str(sample.id) in kept}
        for _ in found:
            answered()
        if missing := [sample for sample in samples if str(sample.id) not in found]:
            found |= {str(sample.id): self._answer(sample) for sample in self._run(defence, missing, key, answered)}
        return found

    def _run(
        self, defence: Defence, samples: Sequence[Sample], key: str, answered: Callable[[], None]
    ) -> list[EvalSample]:
        async def count(state: TaskState) -> None:  # noqa: ARG001
            answered()

        line = ServerConnection() if isinstance(self.model, Model) else None
        task = inspect_ai.Task(
            dataset=MemoryDataset(list(samples)),
            solver=behind(defence, line),
            scorer=scorers_of(self.benchmark, self.judge, self.grader),
            cleanup=count,
            name=defence.name,
            metadata={"davsp_key": key},
        )
        with _inspect_home(self.logs):
            logs = inspect_ai.eval(
                task,
                model=self.model if isinstance(self.model, Model) else _local(self.model, self.batch_size),
                display="none",
                log_dir=str(self.logs),
                log_level="error",
                log_images=False,
                log_realtime=False,
                log_model_api=False,
                log_buffer=LOG_BUFFER_SERVED if line else LOG_BUFFER,
                max_samples=2 * self.batch_size,
                fail_on_error=False,
                score_display=False,
                ctl_server=False,
                max_tokens=self.max_new_tokens,
                temperature=0.0,
            )
        if not logs or logs[0].status == "cancelled":
            raise KeyboardInterrupt
        log = logs[0]
        if log.status != "success":
            reason = log.error.message if log.error else log.status
            raise ModelError(f"the evaluation of {defence.name!r} stopped: {reason}. Its log is {log.location}.")
        found = log.samples or []
        if line and line.dead:
            sound = sum(self._is_sound(sample) for sample in found)
            raise ModelError(
                f"{self.model} was lost while {defence.name!r} was evaluated: {line.reason}. {sound} of "
                f"{len(samples)} answers are kept; when the server is back, the same command goes on from there."
            )
        return found

    def _kept(self, key: str) -> dict[str, JudgedAnswer]:
        """The answers that logs of this key hold, by query id; of several to a query the newest."""
        found: dict[str, JudgedAnswer] = {}
        for info in list_eval_logs(str(self.logs), descending=False):
            try:
                if (read_eval_log(info, header_only=True).eval.metadata or {}).get("davsp_key") != key:
                    continue
                samples = read_eval_log(info).samples or []
            except Exception:  # noqa: S112 - damaged in whatever way: there is nothing in it to keep
                continue
            found |= {str(sample.id): self._answer(sample) for sample in samples if self._is_sound(sample)}
        return found

    def _is_sound(self, sample: EvalSample) -> bool:
        """Whether a query was answered, and whoever was to judge and grade the answer replied."""
        scores = sample.scores or {}
        names = [SCORER, *([self._grader.scorer_name] if self._grader else [])]
        if sample.error or not all(name in scores for name in names):
            return False
        return not any((scores[name].metadata or {}).get("failed") for name in names)

    def _answer(self, sample: EvalSample) -> JudgedAnswer:
        if sample.error is not None:
            return JudgedAnswer("", Verdict.UNSCORED, sample.error.message)
        scores = sample.scores or {}
        judged = scores[SCORER].metadata or {}
        verdict, reason = Verdict(judged["verdict"]), judged["unscored"]
        marks: dict[str, float] = {}
        if self._grader:
            graded = scores[self._grader.scorer_name]
            reason = reason or (graded.metadata or {}).get("unscored")
            points = graded.value if isinstance(graded.value, dict) else {self._grader.marks[0]: graded.value}
            marks = {name: float(cast(float, value)) for name, value in points.items()}
        spent = dict(sample.store[COST])
        span = (spent.pop("began"), spent.pop("ended"))
        verdict = Verdict.UNSCORED if reason else verdict
        return JudgedAnswer(sample.output.completion, verdict, reason, QueryCost(**spent), span, marks)

    @property
    def identity(self) -> str:
        """What the marks of an answer, and the rule for right ones, depend on."""
        graded = f"{self.grader} {self._grader.prompt_digest}" if self._grader else ""
        return f"{self.benchmark.name if self.benchmark else ''} {graded}".strip()

    @property
    def _grader(self) -> Grader | None:
        return self.benchmark.grader if self.benchmark else None


def _local(model: LocalModel, batch_size: int) -> Model:
    # Inspect's decorator turns the class into a factory of registered models.
    create = cast(Callable[..., ModelAPI], davsp)
    api = create(model.name, local_model=model, batch_size=batch_size)
    found = Model(api, GenerateConfig(), {"batch_size": batch_size})
    set_model_info(str(found), ModelInfo())  # else Inspect loads the model once more, to ask it about itself
    return found


@contextmanager
def _inspect_home(folder: Path) -> Iterator[None]:
    """Keep what Inspect writes besides its logs (traces, caches) in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix=".inspect-", dir=folder) as home:
        ours = {"XDG_DATA_HOME": home, "XDG_CACHE_HOME": home, "INSPECT_TRACE_LEVEL": "CRITICAL"}
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
