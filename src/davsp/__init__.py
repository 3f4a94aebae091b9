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
    from davsp.artefact import VisualSafetyPrompt
    from davsp.defence import Defence
    from davsp.models import VisionLanguageModel, load_model
    from davsp.samples import Query, read_queries
    from davsp.vector import HarmfulnessVector, extract_vector

__version__ = "0.1.0"

_HOMES = {
    "Defence": "davsp.defence",
    "HarmfulnessVector": "davsp.vector",
    "Query": "davsp.samples",
    "VisionLanguageModel": "davsp.models",
    "VisualSafetyPrompt": "davsp.artefact",
    "extract_vector": "davsp.vector",
    "load_model": "davsp.models",
    "read_queries": "davsp.samples",
}

__all__ = [
    "Defence",
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
