"""A model for lmms-eval whose answers are given behind a defence: its tasks and tables, and davsp's models.

    python lmms_eval_model.py --model davsp --model_args model=testbed,defence=runs/prompt --tasks mme --batch_size 1

All options are lmms-eval's own. Without `defence` the model answers undefended. Decoding is greedy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmms_eval.api.model import lmms

import davsp


class DavspModel(lmms):
    """Conversations of texts and images, as the tasks' `doc_to_messages` gives them."""

    is_simple = False

    def __init__(
        self,
        model: str,
        defence: str | None = None,
        max_new_tokens: int = 256,
        device: str | None = None,
        batch_size: int = 1,  # noqa: ARG002 - lmms-eval passes it; questions are asked one by one
        max_batch_size: int | None = None,  # noqa: ARG002 - the same
    ) -> None:
        super().__init__()
        self._model = davsp.load_model(model, device=device or "auto")
        self._defence = davsp.load_defence(defence) if defence else None
        self._max_new_tokens = max_new_tokens

    def generate_until(self, requests: list[Any]) -> list[str]:
        return [self._answer(*request.args) for request in requests]

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:  # noqa: ARG002 - its interface
        raise davsp.DavspError("davsp answers behind a defence: choose tasks that generate, not those of likelihoods.")

    def generate_until_multi_round(self, requests: list[Any]) -> list[str]:  # noqa: ARG002 - its interface
        raise davsp.DavspError("tasks of several rounds are not asked: choose tasks with the output generate_until.")

    def _answer(self, _: str, doc_to_messages: Any, options: dict[str, Any], doc_id: Any, task: str, split: str) -> str:
        if options.get("do_sample") or (options.get("temperature") or 0) > 0:
            raise davsp.DavspError(f"{task} draws its answers, and they are greedy here: --gen_kwargs temperature=0.")
        turns = doc_to_messages(self.task_dict[task][split][doc_id])
        messages = [davsp.Message(turn["role"], map(_part, turn["content"])) for turn in turns]
        text = davsp.answer(
            self._model,
            davsp.Query(f"{task} {doc_id}", messages=messages),
            self._defence,
            max_new_tokens=options.get("max_new_tokens") or self._max_new_tokens,
        )
        until = options.get("until") or []
        for stop in [until] if isinstance(until, str) else until:
            text = text.split(stop)[0] if stop else text
        return text


def _part(part: dict[str, Any]) -> Any:
    if part["type"] == "text":
        return part["text"]
    if part["type"] == "image":
        return Path(part["url"]) if isinstance(part["url"], str) else part["url"]
    raise davsp.DavspError(f"a task brings {part['type']}, and davsp defends images and texts.")


if __name__ == "__main__":
    from lmms_eval.__main__ import cli_evaluate
    from lmms_eval.models import MODEL_REGISTRY_V2
    from lmms_eval.models.registry_v2 import ModelManifest

    MODEL_REGISTRY_V2.register_manifest(ModelManifest("davsp", chat_class_path="lmms_eval_model.DavspModel"))
    cli_evaluate()
