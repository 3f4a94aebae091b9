"""Judges of responses: fixed rules, a language model with a rubric, open guard models; and what people said of them.

`load_judge` gives one by its name. Judges that call a model are imported only then, for they need Inspect.
"""

from __future__ import annotations

import importlib.util
from enum import StrEnum
from typing import TYPE_CHECKING

from davsp.errors import InputError
from davsp.judges.base import Finding, Judge, JudgeQuestion
from davsp.judges.rules import Rules

if TYPE_CHECKING:
    from inspect_ai.model import Model

__all__ = ["Finding", "Judge", "JudgeName", "JudgeQuestion", "Rules", "load_judge"]


class JudgeName(StrEnum):
    RULES = "rules"
    LLM = "llm"
    HARMBENCH = "harmbench"
    LLAMA_GUARD = "llama-guard"
    QWEN3GUARD = "qwen3guard"


def load_judge(name: str, model: str | Model | None = None) -> Judge:
    """A judge by its name, with its model ready to be called.

    `model`: an Inspect model, or its name: "openai/gpt-4o", "hf/Qwen/Qwen3Guard-Gen-4B". Raises InputError for an
    unknown judge, a judge without the model that it needs or with one that it does not, and a model that cannot be had.
    """
    if name not in list(JudgeName):
        raise InputError(f"there is no judge {name!r}. Choose from {', '.join(JudgeName)}.")
    if name == JudgeName.RULES:
        if model is not None:
            raise InputError("the judge 'rules' calls no model. Leave the judge's model out, or choose another judge.")
        return Rules()
    if importlib.util.find_spec("inspect_ai") is None:
        raise InputError(f"the judge '{name}' needs Inspect, which is not installed. Run: pip install 'davsp[eval]'")
    from davsp.judges.asking import ModelJudge
    from davsp.judges.harmbench import HarmBench
    from davsp.judges.llama_guard import LlamaGuard
    from davsp.judges.llm import LLM
    from davsp.judges.qwen3guard import Qwen3Guard

    kinds: dict[JudgeName, type[ModelJudge]] = {
        JudgeName.LLM: LLM,
        JudgeName.HARMBENCH: HarmBench,
        JudgeName.LLAMA_GUARD: LlamaGuard,
        JudgeName.QWEN3GUARD: Qwen3Guard,
    }
    kind = kinds[JudgeName(name)]
    if model is None:
        raise InputError(f"the judge '{name}' calls a model, and none is bound. Give one: --judge-model {kind.example}")
    return kind.bound_to(model)
