"""What a gate reads: hidden states of queries at some decoder layers, and their images flattened if it is told so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor

from davsp.data.conversation import ImageContent
from davsp.data.query import Query
from davsp.imaging.canvas import Canvas
from davsp.imaging.flattening import flattened
from davsp.imaging.opening import open_image
from davsp.imaging.pixels import stack, to_image
from davsp.models.base import VisionLanguageModel
from davsp.models.state_store import StateStore
from davsp.util.batching import batched

LAYERS = 6
"""Decoder layers that a gate reads, where it is not told which: neighbours say nearly the same."""


def flattened_query(query: Query, radius: int, canvas: Canvas | None) -> Query:
    """A query with its images flattened, at the size at which a model with this canvas sees them."""

    def flat(image: ImageContent) -> Image.Image:
        opened = open_image(image, what=query.id)
        [pixels] = stack([canvas.resize(opened) if canvas else opened])
        return to_image(flattened(pixels, radius))

    return query.with_image(*map(flat, query.images))


def default_layers(model: VisionLanguageModel) -> tuple[int, ...]:
    """LAYERS decoder layers, evenly spread over the upper half of those that see the image, the last among them."""
    first = max(model.first_seeing_layer, model.n_layers // 2 + 1)
    return tuple(sorted({round(k) for k in torch.linspace(first, model.n_layers, LAYERS).tolist()}))


def state_batches(
    store: StateStore,
    layers: Sequence[int],
    size: int,
    advance: Callable[[int], None],
    shown: Callable[[Query], Query] | None,
    queries: Sequence[Query],
) -> Iterator[tuple[Sequence[Query], Tensor]]:
    """The queries in batches, and their states at the layers, float32 (B, len(layers), hidden), as they are `shown`."""
    places = [layer - 1 for layer in layers]
    batches = batched(queries, size)
    read = store.batches([shown(query) for query in batch] if shown else batch for batch in batches)
    for batch, states in zip(batches, read, strict=True):
        yield batch, states[:, places]
        advance(len(batch))
