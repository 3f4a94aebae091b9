"""The benchmarks as Inspect tasks: `inspect eval davsp/figstep -T folder=data/figstep --model ...`.

There is a task for every name among the entry points `davsp.benchmarks`, those of other packages too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.solver import generate

from davsp.benchmarks import BENCHMARKS
from davsp.benchmarks.selection import BenchmarkSelection
from davsp.evaluation.media import to_sample
from davsp.evaluation.scorers import judge_is_bound, scorers_of


def task_of(name: str, folder: str | None = None, variant: str | None = None) -> Task:
    """The task of a benchmark. Its samples have what `safety_and_usefulness` reads, and the group.

    Citation, licence, content note and what was dropped are in the task's metadata. A benchmark whose answers are
    graded needs a model in the role "judge".
    """
    chosen = BenchmarkSelection.of(name, Path(folder) if folder else None, variant)
    return Task(
        dataset=MemoryDataset([to_sample(query) for query in chosen.queries], name=f"{name}/{chosen.variant}"),
        solver=[judge_is_bound(), generate()] if chosen.benchmark.grader else generate(),
        scorer=scorers_of(chosen.benchmark),
        name=name,
        metadata={**chosen.facts.model_dump(mode="json"), "benchmark": chosen.benchmark.title},
    )


def _registered(name: str) -> Callable[..., Task]:
    @task(name=name)
    def benchmark(folder: str | None = None, variant: str | None = None) -> Task:
        """The queries of a benchmark's variant, from a folder in its published layout, or from the hub."""
        return task_of(name, folder, variant)

    return benchmark


TASKS: Mapping[str, Callable[..., Task]] = {name: _registered(name) for name in BENCHMARKS.names()}
"""By the benchmark's name. A benchmark is imported when its task is made."""
