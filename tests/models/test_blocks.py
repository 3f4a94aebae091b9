"""Decoder blocks that are computed again, or compiled, give the gradient that they give as they are."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from davsp.imaging.pixels import as_batch
from davsp.models.activations import states_and_final
from davsp.models.base import VisionLanguageModel
from davsp.models.blocks import Blocks
from davsp.models.loading import load_model
from tests.tiny import BUILDERS, save_tiny

LAYER = 2


def gradient(model: VisionLanguageModel, blocks: Blocks, share: float = 0.0) -> Tensor:
    """Of two states of a forward pass, at a layer and at the end, by the pixels."""
    height, width = model.canvas.square
    pixels = torch.linspace(0, 1, 6 * height * width).reshape(2, 3, height, width).requires_grad_()
    prompt = model.prompt_ids("count the shapes .", size=(height, width))
    tokens = model.tokens([prompt, prompt], [model.answer_ids("one"), model.answer_ids("one two")])
    with blocks.run(share):
        states, final = states_and_final(model, as_batch(pixels), tokens, [LAYER])
    return torch.autograd.grad(states.square().mean() + final.float().square().mean(), pixels)[0]


@pytest.mark.parametrize("family", BUILDERS)
def test_blocks_that_are_computed_again_give_the_same_gradient(family: str, tmp_path: Path) -> None:
    model = load_model(str(save_tiny(family, tmp_path)))
    blocks = Blocks(model)
    plain = gradient(model, blocks)
    runs = 0

    def count(*_: object) -> None:
        nonlocal runs
        runs += 1

    for block in model.layers:
        next(module for name, module in block.named_children() if "attn" in name).register_forward_hook(count)
    # Blocks that the image has not reached yet are not gone back through.
    for share, again in ((0.0, 0), (0.5, 1), (1.0, model.n_layers - model.first_seeing_layer + 1)):
        runs = 0
        torch.testing.assert_close(gradient(model, blocks, share), plain)
        assert runs == model.n_layers + again
    assert not any("forward" in vars(block) for block in model.layers)


def test_a_share_of_the_blocks_is_spread_evenly(model: VisionLanguageModel) -> None:
    count = model.n_layers
    with Blocks(model).run(0.5):
        again = [hasattr(block.forward, "func") for block in model.layers]
    assert sum(again) == count // 2
    assert not any(a and b for a, b in pairwise(again))


@pytest.mark.slow
def test_compiled_blocks_give_the_same_gradient(tmp_path: Path) -> None:
    model = load_model(str(save_tiny("llava", tmp_path)))
    plain = gradient(model, Blocks(model))
    compiled = Blocks(model, compiled=True)
    for share in (0.0, 1.0):
        torch.testing.assert_close(gradient(model, compiled, share), plain, rtol=1e-4, atol=1e-6)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
