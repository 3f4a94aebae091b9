"""Reading hidden states: decoder layer k is the state after block k, k = 1..n, before any final norm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from davsp.data.query import Query
from davsp.errors import InputError
from davsp.imaging.pixels import Pixels
from davsp.models.base import VisionLanguageModel
from davsp.models.requests import by_images
from davsp.models.tokens import Tokens
from davsp.util.batching import batched, prefetched


class _LastLayerRecorded(Exception):  # noqa: N818 - a signal, not an error
    """Ends a forward pass once the last wanted layer has been recorded."""


@contextmanager
def record_activations(
    model: VisionLanguageModel,
    layers: Sequence[int],
    *,
    select: Callable[[Tensor], Tensor] = lambda states: states,
    stop: bool = False,
) -> Iterator[dict[int, Tensor]]:
    """Record the states after decoder layers, 1 to n, in the forward passes of a `with` block.

        with record_activations(model, [4, 8]) as states:
            model.forward(pixels, tokens)
        states[4]  # (B, T, hidden), at the model's precision, differentiable

    Gives a dictionary from layer to the states of the last forward pass, or to what `select` makes of them as soon as
    they are there, which saves memory. With `stop`, the blocks after the last of the layers are not run: the forward
    pass, and with it the `with` block, ends there. The hooks are removed when the block ends, however it does.

    Raises InputError for a layer that the model does not have.
    """
    for layer in layers:
        if not 1 <= layer <= model.n_layers:
            raise InputError(f"layer {layer} does not exist: {model.name} has layers 1 to {model.n_layers}.")
    recorded: dict[int, Tensor] = {}

    def hook_of(layer: int, block: int) -> Callable[..., None]:
        def record(module: object, args: object, output: Tensor | tuple[Tensor, ...]) -> None:  # noqa: ARG001
            recorded[layer] = select(output if isinstance(output, Tensor) else output[0])
            if stop and layer == block == max(layers):
                raise _LastLayerRecorded

        return record

    blocks = [(layer, block) for layer in layers for block in {layer, model.layer_without_images(layer)}]
    hooks = [model.layers[block - 1].register_forward_hook(hook_of(layer, block)) for layer, block in blocks]
    try:
        yield recorded
    except _LastLayerRecorded:
        pass
    finally:
        for hook in hooks:
            hook.remove()


def last_prompt_states(
    model: VisionLanguageModel, pixels: Pixels, tokens: Tokens, layers: Sequence[int]
) -> Float[Tensor, "b layers hidden"]:
    """The last prompt token's state at each of `layers`, float32 (B, len(layers), hidden).

    Blocks after the last wanted layer are not run. Differentiable in `pixels`.
    """
    with record_activations(model, layers, select=lambda states: _at_last_prompt(states, tokens), stop=True) as states:
        model.forward(pixels, tokens)
    return torch.stack([states[layer] for layer in layers], dim=1)


def states_and_final(
    model: VisionLanguageModel, pixels: Pixels, tokens: Tokens, layers: Sequence[int]
) -> tuple[Float[Tensor, "b layers hidden"], Float[Tensor, "b t hidden"]]:
    """One full pass: the last prompt token's state at each of `layers`, float32 (B, len(layers), hidden), and all final
    states (B, T, hidden)."""
    with record_activations(model, layers, select=lambda states: _at_last_prompt(states, tokens)) as states:
        final = model.forward(pixels, tokens)
    return torch.stack([states[layer] for layer in layers], dim=1), final


def _at_last_prompt(states: Tensor, tokens: Tokens) -> Tensor:
    """float32 (B, hidden) of states (B, T, hidden)."""
    return states[torch.arange(len(states), device=states.device), tokens.last_prompt.to(states.device)].float()


def read_activations(
    model: VisionLanguageModel,
    queries: Sequence[Query],
    layers: Sequence[int],
    prefix: str = "",
    *,
    batch_size: int = 16,
) -> Float[Tensor, "n layers hidden"]:
    """The activations of queries: the last prompt token's state at each of `layers`, float32 (N, len(layers), hidden).

    Each query is put as `VisionLanguageModel.generate` puts it, with `prefix` before its question; the result is on the
    CPU. Blocks after the last wanted layer are not run. Raises InputError for a layer that the model does not have, an
    unusable image or question.
    """
    batches = list(activation_batches(model, batched(queries, batch_size), layers, prefix))
    return torch.cat(batches) if batches else torch.zeros(0, len(layers), model.hidden_size)


def activation_batches(
    model: VisionLanguageModel, batches: Sequence[Sequence[Query]], layers: Sequence[int], prefix: str = ""
) -> Iterator[Float[Tensor, "b layers hidden"]]:
    """As `read_activations`, batch by batch: what is done with one need not wait for the others."""

    def prepare(batch: Sequence[Query]) -> list[tuple[list[int], Pixels, Tokens]]:
        """The rows of the batch that have as many images, together: their places, images and tokens."""
        asked = [query.with_prefix(prefix) for query in batch]
        parts = []
        for rows in by_images(asked):
            chosen = [asked[i] for i in rows]
            pixels = model.canvas_pixels(chosen)
            counts = [len(query.images) for query in chosen]
            parts.append((rows, pixels, model.tokens(model.prompts(chosen, pixels), images=counts)))
        return parts

    # Beside a model on a CPU, a thread that prepares costs it more than it saves.
    prepared = map(prepare, batches) if model.device.type == "cpu" else prefetched(prepare, batches)
    last: Tensor | None = None
    for parts in prepared:
        with torch.inference_mode():
            pieces = [(rows, last_prompt_states(model, pixels, tokens, layers)) for rows, pixels, tokens in parts]
        states = _in_order(pieces)
        if last is not None:
            yield last.cpu()  # waits for a GPU, which has the next batch to go on with
        last = states
    if last is not None:
        yield last.cpu()


def _in_order(pieces: Sequence[tuple[Sequence[int], Tensor]]) -> Tensor:
    """The states of a batch's rows, which were read in pieces: each the places of its rows, and their states."""
    if len(pieces) == 1:
        return pieces[0][1]
    places = torch.tensor([place for rows, _ in pieces for place in rows])
    return torch.cat([states for _, states in pieces])[places.argsort()]
