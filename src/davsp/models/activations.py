"""Reading hidden states: decoder layer k is the state after block k, k = 1..n, before any final norm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from jaxtyping import Float
from torch import Tensor

from davsp.imaging.pixels import Pixels
from davsp.models.base import Tokens, VisionLanguageModel


class _ReachedLastLayer(Exception):  # noqa: N818 - a signal, not an error
    """Ends a forward pass once the last wanted layer has been read."""


@contextmanager
def _listening(
    model: VisionLanguageModel, layers: Sequence[int], hear: Callable[[int, Tensor], None]
) -> Iterator[None]:
    """Call `hear(k, states)` when decoder layer k has been computed; the hooks are always removed."""

    def hook(k: int) -> Callable[..., None]:
        def listen(module: object, args: object, output: Tensor | tuple[Tensor, ...]) -> None:  # noqa: ARG001
            hear(k, output if isinstance(output, Tensor) else output[0])

        return listen

    handles = [model.layers[k - 1].register_forward_hook(hook(k)) for k in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _last(states: Tensor, tokens: Tokens) -> Tensor:
    return states[torch.arange(len(states), device=states.device), tokens.last_prompt.to(states.device)].float()


def last_prompt_states(
    model: VisionLanguageModel, pixels: Pixels, tokens: Tokens, layers: Sequence[int]
) -> Float[Tensor, "b layers hidden"]:
    """The last prompt token's state at each of `layers` (ascending), float32 (B, len(layers), hidden).

    Blocks after the last wanted layer are not run. Differentiable in `pixels`.
    """
    found: list[Tensor] = []

    def hear(k: int, states: Tensor) -> None:
        found.append(_last(states, tokens))
        if k == layers[-1]:
            raise _ReachedLastLayer

    with _listening(model, layers, hear), suppress(_ReachedLastLayer):
        model.forward(pixels, tokens)
    return torch.stack(found, dim=1)


def states_and_final(
    model: VisionLanguageModel, pixels: Pixels, tokens: Tokens, layer: int
) -> tuple[Float[Tensor, "b hidden"], Float[Tensor, "b t hidden"]]:
    """One full pass: the last prompt token's state at `layer` (B, hidden), and all final states (B, T, hidden)."""
    found: list[Tensor] = []
    with _listening(model, [layer], lambda _, states: found.append(_last(states, tokens))):
        final = model.forward(pixels, tokens)
    return found[0], final
