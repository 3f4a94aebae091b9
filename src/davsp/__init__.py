"""davsp: visual safety prompts for vision-language models.

import davsp

model = davsp.load_model("testbed")
data = davsp.load_queries("testbed", split="train")
prompt = davsp.train(model, data, out="runs/prompt")
print(prompt.ask(model, "photo.png", "What is in the picture?"))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from davsp.api import answer, ask, attack, evaluate, load_queries, train
    from davsp.data.conversation import Message
    from davsp.data.query import Query, split_queries
    from davsp.defences.base import Defence, Exchange, RewritingDefence
    from davsp.defences.loading import load_defence
    from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
    from davsp.drawing.draw import DrawnQueries, draw_queries
    from davsp.errors import DavspError
    from davsp.models.activations import read_activations
    from davsp.models.base import VisionLanguageModel
    from davsp.models.loading import load_model
    from davsp.report.collect import Evaluation
    from davsp.training.vector import HarmfulnessVector, extract_vector

__version__ = "0.1.0"

_MODULES = {
    "DavspError": "davsp.errors",
    "Defence": "davsp.defences.base",
    "DrawnQueries": "davsp.drawing.draw",
    "Evaluation": "davsp.report.collect",
    "Exchange": "davsp.defences.base",
    "HarmfulnessVector": "davsp.training.vector",
    "Message": "davsp.data.conversation",
    "Query": "davsp.data.query",
    "RewritingDefence": "davsp.defences.base",
    "VisionLanguageModel": "davsp.models.base",
    "VisualSafetyPrompt": "davsp.defences.visual_safety_prompt",
    "answer": "davsp.api",
    "ask": "davsp.api",
    "attack": "davsp.api",
    "draw_queries": "davsp.drawing.draw",
    "evaluate": "davsp.api",
    "extract_vector": "davsp.training.vector",
    "load_defence": "davsp.defences.loading",
    "load_model": "davsp.models.loading",
    "load_queries": "davsp.api",
    "read_activations": "davsp.models.activations",
    "split_queries": "davsp.data.query",
    "train": "davsp.api",
}

__all__ = [
    "DavspError",
    "Defence",
    "DrawnQueries",
    "Evaluation",
    "Exchange",
    "HarmfulnessVector",
    "Message",
    "Query",
    "RewritingDefence",
    "VisionLanguageModel",
    "VisualSafetyPrompt",
    "answer",
    "ask",
    "attack",
    "draw_queries",
    "evaluate",
    "extract_vector",
    "load_defence",
    "load_model",
    "load_queries",
    "read_activations",
    "split_queries",
    "train",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import davsp` does not load torch."""
    if name not in _MODULES:
        raise AttributeError(f"module 'davsp' has no attribute {name!r}")
    member = getattr(import_module(_MODULES[name]), name)
    globals()[name] = member  # also over the subpackage of that name, which importing it has put there
    return member
