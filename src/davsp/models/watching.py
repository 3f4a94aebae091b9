"""Watching a model read: requests that it flags in itself end at once, the others are answered in the same pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from transformers import LogitsProcessor

from davsp.models.activations import record_activations
from davsp.models.base import VisionLanguageModel
from davsp.models.requests import Request, Response


class Watcher(LogitsProcessor):  # type: ignore[misc]
    """Ends the flagged rows of a batch with `end`, the token that ends an answer, before their first word.

    `states`: by decoder layer, the last token's states of the latest pass, float32 (B, hidden). The scores of other
    rows are left as they are, so that their answers are those without a watch.
    """

    def __init__(self, requests: Sequence[Request], states: Mapping[int, Tensor], end: int) -> None:
        self.requests, self.states, self.end = requests, states, end
        self.flagged: list[bool] | None = None
        """By row; None before the prompts are read."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002 - the library's interface
        if self.flagged is None:
            self.flagged = [self._flags(row, request) for row, request in enumerate(self.requests)]
        if not any(self.flagged):
            return scores
        rows = torch.tensor(self.flagged, device=scores.device)
        scores = scores.clone()
        scores[rows] = -torch.inf
        scores[rows, self.end] = 0
        return scores

    def note(self, responses: Sequence[Response]) -> list[Response]:
        """The responses to the batch, and whether they were flagged."""
        flagged: Sequence[bool | None] = self.flagged or [None] * len(responses)
        return [
            replace(response, flagged=found) if request.watch else response
            for request, response, found in zip(self.requests, responses, flagged, strict=True)
        ]

    def _flags(self, row: int, request: Request) -> bool:
        if (watch := request.watch) is None:
            return False
        state = self.states[watch.layer][row]
        projection = float(state @ watch.direction.to(state.device))
        return not projection <= watch.threshold  # what is no number is flagged


@contextmanager
def watching(model: VisionLanguageModel, requests: Sequence[Request], end: int) -> Iterator[Watcher]:
    """Watch the batch that is generated in the block, whose prompts are padded on the left. Raises InputError for a
    layer that the model does not have."""
    layers = sorted({request.watch.layer for request in requests if request.watch})
    with record_activations(model, layers, select=lambda states: states[:, -1].float()) as states:
        yield Watcher(requests, states, end)
