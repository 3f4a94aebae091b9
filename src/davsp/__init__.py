"""davsp: visual safety prompts for vision-language models.

from davsp import VisualSafetyPrompt, load_model

model = load_model("testbed")
prompt = VisualSafetyPrompt.load("runs/demo/davsp")
print(prompt.ask(model, "photo.png", "What is in the picture?"))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from davsp.data.query import Query
    from davsp.data.readers import read_queries
    from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
    from davsp.models.base import VisionLanguageModel
    from davsp.models.loading import load_model
    from davsp.training.vector import HarmfulnessVector, extract_vector

__version__ = "0.1.0"

_HOMES = {
    "HarmfulnessVector": "davsp.training.vector",
    "Query": "davsp.data.readers",
    "VisionLanguageModel": "davsp.models.base",
    "VisualSafetyPrompt": "davsp.defences.visual_safety_prompt",
    "extract_vector": "davsp.training.vector",
    "load_model": "davsp.models.loading",
    "read_queries": "davsp.data.readers",
}

__all__ = [
    "HarmfulnessVector",
    "Query",
    "VisionLanguageModel",
    "VisualSafetyPrompt",
    "extract_vector",
    "load_model",
    "read_queries",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import davsp` does not load torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'davsp' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
