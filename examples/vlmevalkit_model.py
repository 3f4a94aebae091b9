"""A model for VLMEvalKit whose answers are given behind a defence: its benchmarks and tables, and davsp's models.

In VLMEvalKit's own folder, for two rows of a table, undefended and defended:

    export DAVSP_MODEL=testbed DAVSP_DEFENCE=runs/prompt
    python .../vlmevalkit_model.py --data MMBench_DEV_EN --model undefended davsp

All options are those of its run.py. Decoding is greedy.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

from vlmeval.vlm.base import BaseModel

import davsp


class DavspModel(BaseModel):
    """Texts and images in the order in which a benchmark gives them, as many as the model takes."""

    INTERLEAVE = True
    allowed_types = ["text", "image"]  # noqa: RUF012 - VLMEvalKit's interface

    def __init__(self, model: str, defence: str | None = None, max_new_tokens: int = 256) -> None:
        super().__init__()
        self._model = davsp.load_model(model)
        self._defence = davsp.load_defence(defence) if defence else None
        self._max_new_tokens = max_new_tokens

    def generate_inner(self, message: list[dict[str, Any]], dataset: str | None = None) -> str:
        turns = groupby(message, lambda item: item.get("role", "user"))
        return self._answer([davsp.Message(role, map(_part, items)) for role, items in turns], dataset)

    def chat_inner(self, messages: list[dict[str, Any]], dataset: str | None = None) -> str:
        return self._answer([davsp.Message(turn["role"], map(_part, turn["content"])) for turn in messages], dataset)

    def _answer(self, messages: list[davsp.Message], dataset: str | None) -> str:
        query = davsp.Query(dataset or "the message", messages=messages)
        return davsp.answer(self._model, query, self._defence, max_new_tokens=self._max_new_tokens)


def _part(item: dict[str, Any]) -> Any:
    return Path(item["value"]) if item["type"] == "image" else item["value"]


if __name__ == "__main__":
    import os
    import runpy
    from functools import partial

    from vlmeval.config import supported_VLM

    model, defence = os.environ["DAVSP_MODEL"], os.environ["DAVSP_DEFENCE"]
    supported_VLM["undefended"] = partial(DavspModel, model)
    supported_VLM["davsp"] = partial(DavspModel, model, defence)
    runpy.run_path("run.py", run_name="__main__")
