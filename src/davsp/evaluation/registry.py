"""What Inspect finds under the entry point `davsp`: models, tasks, solvers and scorers."""

from __future__ import annotations

from contextlib import suppress

from inspect_ai.model import ModelAPI, modelapi

from davsp.benchmarks import BENCHMARKS
from davsp.errors import InputError
from davsp.evaluation.benchmarks import TASKS
from davsp.evaluation.scorers import judge_is_bound, own_scorer, safety_and_usefulness
from davsp.evaluation.solver import behind
from davsp.models.served import PROVIDER

__all__ = ["TASKS", "behind", "davsp", "davsp_server", "judge_is_bound", "safety_and_usefulness"]


@modelapi(name="davsp")
def davsp() -> type[ModelAPI]:
    """Local vision-language models; the provider is loaded when one is asked for."""
    from davsp.evaluation.provider import DavspAPI

    return DavspAPI


@modelapi(name=PROVIDER)
def davsp_server() -> type[ModelAPI]:
    """Models on OpenAI-compatible servers."""
    from davsp.models.openai_server import OpenAIServer

    return OpenAIServer


for _name in BENCHMARKS.names():
    with suppress(InputError):  # one that cannot be imported says so when it is asked for
        own_scorer(BENCHMARKS.get(_name))
