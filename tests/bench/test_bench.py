"""The bench compares like with like: the reference loop and the bare loop compute what davsp computes."""

from __future__ import annotations

import pytest
import torch
from bench.training import Bench, prepare

from bench import bare
from davsp.imaging.pixels import as_batch
from davsp.models.activations import last_prompt_states
from davsp.training.vector import extract_vector


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return prepare("testbed", tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize("malicious", [True, False])
def test_the_reference_loop_has_the_same_loss_and_gradient(bench: Bench, malicious: bool) -> None:
    fast, slow = (bench.trainer.prompt.clone().requires_grad_() for _ in range(2))
    loss, _ = bench.objective.loss(fast, malicious, range(2), answered=not malicious)
    queries = bench.objective.sides[malicious].queries[:2]
    expected = torch.stack([bench.reference.loss(slow, q, q.answer or "", not malicious) for q in queries]).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    loss.backward()
    expected.backward()
    assert fast.grad is not None and slow.grad is not None
    assert fast.grad.abs().max() > 0
    torch.testing.assert_close(fast.grad, slow.grad, rtol=1e-3, atol=1e-4 * slow.grad.abs().max().item())


def test_the_reference_loop_finds_the_same_vector(bench: Bench) -> None:
    benign, malicious = (side.queries[:3] for side in bench.objective.sides)
    queries = [*benign, *malicious]
    fast = extract_vector(bench.vlm, queries, queries, prefix=bench.reference.prefix).directions
    slow = bench.reference.harmfulness_vector(queries)
    # The last of transformers' hidden states comes after the final norm; ours is the block's own.
    torch.testing.assert_close(fast[:-1], slow[:-1], rtol=1e-3, atol=1e-4)


def test_the_bare_loop_stops_at_the_same_state(bench: Bench) -> None:
    batch = bench.objective.sides[True].batch(range(2), answered=False)
    pixels = bench.objective.plan.layout.compose(bench.trainer.prompt, batch.interior)
    layer, tokens = bench.objective.plan.layer, batch.tokens
    with torch.no_grad():
        ours = last_prompt_states(bench.vlm, pixels, tokens, [layer])[:, 0]
        with bare.first_layers(bench.vlm, layer), torch.no_grad():
            norm = bench.vlm.model.get_decoder().norm
            bench.vlm.model.get_decoder().norm = torch.nn.Identity()
            try:
                states = bare.final_states(bench.vlm, bench.vlm.normalise(as_batch(pixels)), tokens.ids)
            finally:
                bench.vlm.model.get_decoder().norm = norm
    torch.testing.assert_close(states[torch.arange(2), tokens.last_prompt], ours, rtol=1e-5, atol=1e-5)
    assert len(bench.vlm.layers) > layer
