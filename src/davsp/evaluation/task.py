"""One Inspect evaluation of one defence: from queries to a log, and from a log to answers."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import inspect_ai
import psutil
from inspect_ai.dataset import MemoryDataset
from inspect_ai.log import EvalLog, read_eval_log_async
from inspect_ai.model import Model
from inspect_ai.solver import TaskState

from davsp.benchmarks.base import Benchmark
from davsp.data.query import Query
from davsp.defences.base import Defence
from davsp.errors import ModelError
from davsp.evaluation.answers import KEY, AnswerReader, JudgedAnswer
from davsp.evaluation.evaluated import EvaluatedModel, Session
from davsp.evaluation.inspect_internals import draw_no_screen
from davsp.evaluation.scorers import scorers_of
from davsp.judges import Judge
from davsp.util.async_running import run_coroutine
from davsp.util.heap import heap_set_aside


@dataclass(frozen=True)
class EvaluationRun:
    """What an evaluation asks all its defences: which model, which judge, under which settings.

    `grader` is the model that gives points where `benchmark` needs them. `batch_size` queries are in work at a time,
    and as many are prepared. Without `resume` all is asked, whatever logs hold.
    """

    model: EvaluatedModel
    judge: Judge
    logs: Path
    batch_size: int
    max_new_tokens: int
    benchmark: Benchmark | None = None
    grader: Model | None = None
    resume: bool = True

    def answers_behind(
        self, defence: Defence, queries: Sequence[Query], *, key: str, answered: Callable[[], None]
    ) -> dict[str, JudgedAnswer]:
        """Answers by query id. Calls `answered` after each.

        What the logs of an earlier run of the same `key` hold is not asked again, whether that run was finished or not,
        unless the query failed, or whoever judged or graded it. Raises ModelError when the evaluation as a whole fails,
        or the server is lost.
        """
        logged = run_coroutine(self._reader.logged(self.logs, key)) if self.resume else {}
        answers = {query.id: logged[query.id] for query in queries if query.id in logged}
        for _ in answers:
            answered()
        if unanswered := [query for query in queries if query.id not in answers]:
            answers |= self._ask(defence, unanswered, key, answered)
        return answers

    def _ask(
        self, defence: Defence, queries: Sequence[Query], key: str, answered: Callable[[], None]
    ) -> dict[str, JudgedAnswer]:
        session = self.model.session(defence, queries)
        answers: dict[str, JudgedAnswer] = {}

        async def note(state: TaskState) -> None:
            if answer := self._reader.of_state(state):
                answers[str(state.sample_id)] = answer
            answered()

        task = inspect_ai.Task(
            dataset=MemoryDataset(session.samples),
            solver=session.solver,
            scorer=scorers_of(self.benchmark, self.judge, self.grader),
            cleanup=note,
            name=defence.name,
            metadata={KEY: key},
        )
        log = self._evaluate(task, session)
        if log.status != "success":
            reason = log.error.message if log.error else log.status
            raise ModelError(f"the evaluation of {defence.name!r} stopped: {reason}. Its log is {log.location}.")
        if session.connection.lost:
            kept = sum(answer.final for answer in answers.values())
            raise ModelError(
                f"{session.model} was lost while {defence.name!r} was evaluated: {session.connection.last_failure}. "
                f"{kept} of {len(queries)} answers are kept; when the server is back, the same command goes on from "
                "there."
            )
        if len(answers) < len(queries):  # why the others failed is in the log alone
            samples = run_coroutine(read_eval_log_async(log.location)).samples or []
            answers = {str(sample.id): self._reader.of_sample(sample) for sample in samples} | answers
        return answers

    def _evaluate(self, task: inspect_ai.Task, session: Session) -> EvalLog:
        """Inspect's log of the task, without its samples. Raises KeyboardInterrupt when the evaluation was stopped."""
        with _inspect_home(self.logs), heap_set_aside():
            draw_no_screen()
            logs = run_coroutine(
                inspect_ai.eval_async(
                    task,
                    model=session.model,
                    log_dir=str(self.logs),
                    log_level="critical",
                    log_images=False,
                    log_realtime=False,
                    log_model_api=False,
                    log_buffer=self.model.log_buffer,
                    log_header_only=True,
                    max_samples=2 * self.batch_size,
                    fail_on_error=False,
                    score_display=False,
                    ctl_server=False,
                    max_tokens=self.max_new_tokens,
                    temperature=0.0,
                )
            )
        if not logs or logs[0].status == "cancelled":
            raise KeyboardInterrupt
        return logs[0]

    @property
    def identity(self) -> str:
        """What the marks of an answer, and the rule for right ones, depend on."""
        graded = f"{self.grader} {grader.prompt_digest}" if (grader := self._reader.grader) else ""
        return f"{self.benchmark.name if self.benchmark else ''} {graded}".strip()

    @property
    def _reader(self) -> AnswerReader:
        return AnswerReader(self.benchmark.grader if self.benchmark else None)


@contextmanager
def _inspect_home(folder: Path) -> Iterator[None]:
    """Keep what Inspect writes besides its logs (traces, caches) in a folder that is removed afterwards, with those
    that killed processes left there."""
    prefix = f".inspect-{socket.gethostname()}-"
    for left in folder.glob(f"{prefix}*"):
        if not psutil.pid_exists(int(left.name.removeprefix(prefix).partition("-")[0] or 0)):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{prefix}{os.getpid()}-", dir=folder) as home:
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
