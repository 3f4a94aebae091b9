"""The benchmarks as Inspect tasks: `inspect eval davsp/figstep -T folder=data/figstep --model ...`."""

from __future__ import annotations

from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.solver import generate

from davsp.benchmarks.selection import BenchmarkSelection
from davsp.evaluate.media import to_sample
from davsp.evaluate.scorers import judge_is_bound, scorers_of


def task_of(name: str, folder: str | None = None, variant: str | None = None) -> Task:
    """The task of a benchmark. Its samples have what `safety_and_usefulness` reads, and the group.

    Citation, licence, content note and what was dropped are in the task's metadata. A benchmark whose answers are
    graded needs a model in the role "judge".
    """
    chosen = BenchmarkSelection.of(name, Path(folder) if folder else None, variant)
    return Task(
        dataset=MemoryDataset([to_sample(query) for query in chosen.queries], name=f"{name}/{chosen.variant}"),
        solver=[judge_is_bound(), generate()] if chosen.benchmark.graded else generate(),
        scorer=scorers_of(chosen.benchmark),
        name=name,
        metadata={**chosen.facts.model_dump(mode="json"), "benchmark": chosen.benchmark.title},
    )


@task
def mm_safetybench(folder: str | None = None, variant: str | None = None) -> Task:
    """MM-SafetyBench."""
    return task_of("mm_safetybench", folder, variant)


@task
def figstep(folder: str | None = None, variant: str | None = None) -> Task:
    """FigStep."""
    return task_of("figstep", folder, variant)


@task
def vlguard(folder: str | None = None, variant: str | None = None) -> Task:
    """VLGuard."""
    return task_of("vlguard", folder, variant)


@task
def harmbench(folder: str | None = None, variant: str | None = None) -> Task:
    """HarmBench, its multimodal part."""
    return task_of("harmbench", folder, variant)


@task
def jailbreakv(folder: str | None = None, variant: str | None = None) -> Task:
    """JailBreakV-28K."""
    return task_of("jailbreakv", folder, variant)


@task
def siuo(folder: str | None = None, variant: str | None = None) -> Task:
    """SIUO."""
    return task_of("siuo", folder, variant)


@task
def msts(folder: str | None = None, variant: str | None = None) -> Task:
    """MSTS."""
    return task_of("msts", folder, variant)


@task
def mm_vet(folder: str | None = None, variant: str | None = None) -> Task:
    """MM-Vet; answers are graded by the role "judge"."""
    return task_of("mm_vet", folder, variant)


@task(name="mme")
def mme_task(folder: str | None = None, variant: str | None = None) -> Task:
    """MME."""
    return task_of("mme", folder, variant)


@task
def llava_bench(folder: str | None = None, variant: str | None = None) -> Task:
    """LLaVA-Bench (In-the-Wild); answers are reviewed by the role "judge"."""
    return task_of("llava_bench", folder, variant)


@task(name="pope")
def pope_task(folder: str | None = None, variant: str | None = None) -> Task:
    """POPE."""
    return task_of("pope", folder, variant)


@task
def mossbench(folder: str | None = None, variant: str | None = None) -> Task:
    """MOSSBench."""
    return task_of("mossbench", folder, variant)


@task
def xstest(folder: str | None = None, variant: str | None = None) -> Task:
    """XSTest."""
    return task_of("xstest", folder, variant)
