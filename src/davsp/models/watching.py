"""Watching a model read: requests that it flags in itself end at once, the others are answered in the same pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from transformers import LogitsProcessor

from davsp.models.activations import record_activations
from davsp.models.base import VisionLanguageModel
from davsp.models.requests import Request, Response


class Watcher(LogitsProcessor):  # type: ignore[misc]
    """Ends the flagged rows of a batch with `end`, the token that ends an answer, before their first word.

    `states`: by decoder layer, the last token's states of the pass that reads the prompts, float32 (B, hidden); after
    it, `stop_reading` is called. The scores of other rows are left as they are, so that their answers are those
    without a watch.
    """

    def __init__(
        self, requests: Sequence[Request], states: Mapping[int, Tensor], end: int, stop_reading: Callable[[], None]
    ) -> None:
        self.requests, self.states, self.end, self._stop_reading = requests, states, end, stop_reading
        self.projections: list[float | None] = [None] * len(requests)
        """By row; None before the prompts are read, and of requests without a watch."""
        self.unfamiliar: list[bool | None] = [None] * len(requests)
        self._flagged: list[bool] | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002 - the library's interface
        if self._flagged is None:
            self._stop_reading()
            self.projections = [self._project(row, request) for row, request in enumerate(self.requests)]
            self.unfamiliar = [self._unfamiliar(row, request) for row, request in enumerate(self.requests)]
            self._flagged = [
                projection is not None and request.watch is not None and request.watch.flags(projection)
                for projection, request in zip(self.projections, self.requests, strict=True)
            ]
        if not any(self._flagged):
            return scores
        rows = torch.tensor(self._flagged, device=scores.device)
        scores = scores.clone()
        scores[rows] = -torch.inf
        scores[rows, self.end] = 0
        return scores

    def note(self, responses: Sequence[Response]) -> list[Response]:
        """The responses to the batch, with what the requests were projected at."""
        return [
            replace(response, projection=projection, unfamiliar=unfamiliar)
            for projection, unfamiliar, response in zip(self.projections, self.unfamiliar, responses, strict=True)
        ]

    def _project(self, row: int, request: Request) -> float | None:
        if (watch := request.watch) is None:
            return None
        return float(watch.probe.score(torch.stack([self.states[layer][row] for layer in watch.probe.layers])[None]))

    def _unfamiliar(self, row: int, request: Request) -> bool | None:
        if request.watch is None or (known := request.watch.known) is None:
            return None
        return known.unfamiliar(self.states[known.layer][row : row + 1])[0]


@contextmanager
def watching(model: VisionLanguageModel, requests: Sequence[Request], end: int) -> Iterator[Watcher]:
    """Watch the batch that is generated in the block, whose prompts are padded on the left. Raises InputError for a
    layer that the model does not have."""
    watches = [request.watch for request in requests if request.watch]
    layers = {layer for watch in watches for layer in watch.probe.layers}
    layers |= {watch.known.layer for watch in watches if watch.known}
    with ExitStack() as reading:
        states = reading.enter_context(
            record_activations(model, sorted(layers), select=lambda states: states[:, -1].float())
        )
        yield Watcher(requests, states, end, reading.close)
