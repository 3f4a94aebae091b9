"""Judges of responses: fixed rules, a language model with a rubric, open guard models; and what people said of them.

`load_judge` gives one by its name. Inspect is imported only when a judge's model is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from davsp.errors import InputError
from davsp.judges.base import Criterion, Finding, Judge
from davsp.judges.model_calls import JudgeSettings
from davsp.judges.rules import Rules
from davsp.util.own_classes import divided, import_class
from davsp.util.registry import Registry

if TYPE_CHECKING:
    from inspect_ai.model import Model

__all__ = ["JUDGES", "Criterion", "Finding", "Judge", "JudgeSettings", "Rules", "load_judge"]

JUDGES: Registry[type[Judge]] = Registry("davsp.judges", "judge")


def load_judge(
    name: str, model: str | Model | None = None, *, tokens: int | None = None, temperature: float = 0.0
) -> Judge:
    """A judge by its name, or a class of the user's own, "module:Class", with its model ready to be called.

    `model`: an Inspect model, or its name: "openai/gpt-4o", "hf/Qwen/Qwen3Guard-Gen-4B", or URL=NAME for one on an
    OpenAI-compatible server. It is called with at most `tokens` in its reply, thinking included (by default a number of
    the judge's own), and greedily, or at a `temperature` above 0. Raises InputError for an
    unknown judge, a judge without the model that it needs or with one that it does not, and a model that cannot be had.
    """
    own = None if name in JUDGES else divided(name)
    if own is None or own[1]:
        judge = JUDGES.get(name)
    else:
        judge = import_class(name, "judge", Judge)
        if not getattr(judge, "name", "") or not getattr(judge, "can_tell", ()):
            raise InputError(f"the judge {name!r} does not say its `name` and what it `can_tell`: give the class both.")
    return judge.bound_to(model, JudgeSettings(tokens, temperature))
