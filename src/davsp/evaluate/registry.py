"""What Inspect finds under the entry point `davsp`: models, tasks, solvers and scorers."""

from __future__ import annotations

from inspect_ai.model import ModelAPI, modelapi

from davsp.evaluate.benchmarks import (
    figstep,
    harmbench,
    jailbreakv,
    llava_bench,
    mm_safetybench,
    mm_vet,
    mme_task,
    mossbench,
    msts,
    pope_task,
    siuo,
    vlguard,
    xstest,
)
from davsp.evaluate.scorers import judge_is_bound, mme_answers, pope_answers, safety_and_usefulness
from davsp.evaluate.solver import behind
from davsp.judges.llava_bench import llava_bench_review
from davsp.judges.mm_vet import mm_vet_grade

__all__ = [
    "behind",
    "davsp",
    "figstep",
    "harmbench",
    "jailbreakv",
    "judge_is_bound",
    "llava_bench",
    "llava_bench_review",
    "mm_safetybench",
    "mm_vet",
    "mm_vet_grade",
    "mme_answers",
    "mme_task",
    "mossbench",
    "msts",
    "pope_answers",
    "pope_task",
    "safety_and_usefulness",
    "siuo",
    "vlguard",
    "xstest",
]


@modelapi(name="davsp")
def davsp() -> type[ModelAPI]:
    """Local vision-language models; the provider is loaded when one is asked for."""
    from davsp.evaluate.provider import DavspAPI

    return DavspAPI
