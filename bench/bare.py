"""The floor: loops that do only what the mathematics needs, on inputs that lie ready, for LLaVA's class alone.

No hooks, no records, no checks, no data pipeline: whoever wrote the method by hand for one model could do no less.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from davsp.models.base import VisionLanguageModel


@contextmanager
def first_layers(vlm: VisionLanguageModel, count: int) -> Iterator[None]:
    """The decoder with its first `count` blocks only."""
    decoder = vlm.model.get_decoder()
    whole = decoder.layers
    decoder.layers = nn.ModuleList(whole[:count])
    try:
        yield
    finally:
        decoder.layers = whole


def final_states(vlm: VisionLanguageModel, pixels: Tensor, ids: Tensor) -> Tensor:
    """(B, T, hidden) of normalised pixels (B, 3, H, W) and ids (B, T)."""
    states: Tensor = vlm.model.model(pixel_values=pixels, input_ids=ids, use_cache=False).last_hidden_state
    return states


def malicious_step(
    vlm: VisionLanguageModel, pixels: Tensor, ids: Tensor, last: Tensor, layer: int, direction: Tensor
) -> None:
    """Forward to the layer and back to the pixels (requires_grad), the last prompt token's projection as loss."""
    with first_layers(vlm, layer):
        states = final_states(vlm, pixels, ids)
    (states[torch.arange(len(ids)), last].float() @ direction).mean().backward()


def benign_step(
    vlm: VisionLanguageModel, pixels: Tensor, ids: Tensor, rows: Tensor, columns: Tensor, labels: Tensor
) -> None:
    """Forward to the end and back to the pixels, the answers' cross-entropy as loss; scores at answer tokens alone."""
    states = final_states(vlm, pixels, ids)
    scores = vlm.model.get_output_embeddings()(states[rows, columns]).float()
    F.cross_entropy(scores, labels).backward()
