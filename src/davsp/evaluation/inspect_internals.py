"""What davsp needs of Inspect that Inspect keeps to itself. All of it has stood since inspect-ai 0.3.100."""

from __future__ import annotations

from inspect_ai.model import ModelUsage
from inspect_ai.model._model import model_usage, sample_model_usage
from inspect_ai.util._display import init_display_type


def count_usage(model: str, usage: ModelUsage) -> None:
    """Add tokens to those of the sample in work and of its evaluation, as `Model.generate` does.

    `model` is Inspect's full name of the model, such as "davsp/testbed".
    """
    for counted in (sample_model_usage(), model_usage()):
        counted[model] = counted.get(model, ModelUsage()) + usage


def draw_no_screen() -> None:
    """Let evaluations that run from now on draw nothing, and leave the console to others."""
    init_display_type("log")
