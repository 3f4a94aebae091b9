"""Hidden states agree with the model's own `hidden_states`."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from davsp.data.query import Query
from davsp.errors import InputError
from davsp.imaging.pixels import as_batch
from davsp.models.activations import last_prompt_states, read_activations, record_activations, states_and_final
from davsp.models.base import VisionLanguageModel
from tests.reference.deep_alignment import hidden_state

Sets = tuple[list[Query], list[Query]]


def hooks_of(model: VisionLanguageModel) -> list[int]:
    return [len(layer._forward_hooks) for layer in model.layers]


def test_last_prompt_states_equal_plain_hidden_states(model: VisionLanguageModel, queries: Sets) -> None:
    batch = queries[0][::9]
    prompts = [model.prompt_ids(q.question) for q in batch]
    assert len({len(p) for p in prompts}) > 1, "prompts of different length, so that padding matters"
    pixels = model.canvas_pixels(batch)
    wanted = [2, 5]
    found = last_prompt_states(model, pixels, model.tokens(prompts), wanted)
    packed = model.pack(pixels)["pixel_values"]
    for row, prompt in enumerate(prompts):
        for column, k in enumerate(wanted):
            plain = hidden_state(model.model, packed[row], prompt, k)
            assert torch.allclose(found[row, column], plain, atol=2e-5, rtol=1e-5)


def test_the_last_layer_is_read_before_the_final_norm(model: VisionLanguageModel, queries: Sets) -> None:
    batch = queries[0][:1]
    prompts = [model.prompt_ids(batch[0].question)]
    pixels = model.canvas_pixels(batch)
    found = last_prompt_states(model, pixels, model.tokens(prompts), [model.n_layers])[0, 0]
    normed = model.model.get_decoder().norm(found)
    plain = hidden_state(model.model, model.pack(pixels)["pixel_values"][0], prompts[0], model.n_layers)
    assert torch.allclose(normed, plain, atol=2e-5, rtol=1e-5)


def test_blocks_after_the_wanted_layer_are_not_run(model: VisionLanguageModel, queries: Sets) -> None:
    ran: list[int] = []
    handles = [
        layer.register_forward_hook(lambda *_, k=k: ran.append(k)) for k, layer in enumerate(model.layers, start=1)
    ]
    batch = queries[0][:2]
    last_prompt_states(
        model, model.canvas_pixels(batch), model.tokens([model.prompt_ids(q.question) for q in batch]), [3]
    )
    for handle in handles:
        handle.remove()
    assert ran in ([1, 2], [1, 2, 3])


def test_hooks_are_removed_even_when_the_forward_pass_fails(model: VisionLanguageModel) -> None:
    tokens = model.tokens([[0, 1, 2]])
    before = hooks_of(model)
    with pytest.raises(Exception):  # noqa: B017 - whatever the model raises for an image without its tokens
        last_prompt_states(model, torch.rand(1, 3, 112, 112), tokens, [2])
    assert hooks_of(model) == before


def test_one_pass_gives_the_same_state_as_an_early_exit(model: VisionLanguageModel, queries: Sets) -> None:
    batch = queries[0][:3]
    prompts = [model.prompt_ids(q.question) for q in batch]
    answers = [model.answer_ids(q.answer or "") for q in batch]
    pixels = model.canvas_pixels(batch)
    early = last_prompt_states(model, pixels, model.tokens(prompts), [4])[:, 0]
    states, final = states_and_final(model, pixels, model.tokens(prompts, answers), [4])
    assert torch.allclose(states[:, 0], early, atol=2e-5, rtol=1e-5)
    assert final.shape[:2] == model.tokens(prompts, answers).ids.shape


def test_gradients_reach_the_pixels(model: VisionLanguageModel, queries: Sets) -> None:
    batch = queries[0][:1]
    pixels = as_batch(model.canvas_pixels(batch)).requires_grad_()
    tokens = model.tokens([model.prompt_ids(batch[0].question)])
    direction = torch.nn.functional.normalize(torch.randn(model.hidden_size, generator=torch.manual_seed(0)), dim=0)

    def projection(x: torch.Tensor) -> torch.Tensor:
        return (last_prompt_states(model, x, tokens, [3])[:, 0] @ direction).sum()

    gradient = torch.autograd.grad(projection(pixels), pixels)[0]
    assert gradient.abs().sum() > 0
    along = gradient / gradient.norm()
    step = 2e-2
    with torch.no_grad():
        change = (projection(pixels + step * along) - projection(pixels - step * along)) / (2 * step)
    assert change == pytest.approx(gradient.norm().item(), rel=0.05)


def test_what_is_recorded_are_the_models_own_hidden_states(model: VisionLanguageModel, queries: Sets) -> None:
    before, batch = hooks_of(model), queries[0][:2]
    pixels, prompts = model.canvas_pixels(batch), [model.prompt_ids(q.question) for q in batch]
    tokens = model.tokens(prompts)
    with record_activations(model, [4, 2]) as states:
        assert sum(hooks_of(model)) == sum(before) + 2
        final = model.forward(pixels, tokens)
    assert hooks_of(model) == before
    assert set(states) == {2, 4}
    assert states[2].shape == states[4].shape == final.shape
    packed = model.pack(pixels)["pixel_values"]
    for row, prompt in enumerate(prompts):
        plain = hidden_state(model.model, packed[row], prompt, 4)
        assert torch.allclose(states[4][row, len(prompt) - 1], plain, atol=2e-5, rtol=1e-5)


def test_a_block_that_stops_ends_after_its_last_layer(model: VisionLanguageModel, queries: Sets) -> None:
    batch = queries[0][:1]
    tokens, reached = model.tokens([model.prompt_ids(batch[0].question)]), []
    with record_activations(model, [3, 1], select=lambda states: states[:, 0], stop=True) as states:
        model.forward(model.canvas_pixels(batch), tokens)
        reached.append("after the forward pass")
    assert set(states) == {1, 3} and states[1].shape == (1, model.hidden_size)
    assert not reached


@pytest.mark.parametrize("layer", [0, -1, 99])
def test_a_layer_that_the_model_does_not_have_is_refused(layer: int, model: VisionLanguageModel) -> None:
    before = hooks_of(model)
    with pytest.raises(InputError, match=f"layer {layer} does not exist: testbed has layers 1 to {model.n_layers}"):
        read_activations(model, [Query("q", Image.new("RGB", (8, 8)), "what ?")], [layer])
    assert hooks_of(model) == before


def test_activations_of_queries_are_those_of_one_at_a_time_whatever_the_batch(
    model: VisionLanguageModel, queries: Sets
) -> None:
    asked = queries[0][::7]
    together = read_activations(model, asked, [4, 2], "be careful .", batch_size=4)
    assert together.shape == (len(asked), 2, model.hidden_size)
    assert together.dtype is torch.float32 and together.device.type == "cpu"
    for row, query in enumerate(asked):
        packed = model.pack(model.canvas_pixels([query]))["pixel_values"][0]
        for column, layer in enumerate((4, 2)):
            plain = hidden_state(model.model, packed, model.prompt_ids(query.question, "be careful ."), layer)
            assert torch.allclose(together[row, column], plain, atol=2e-5, rtol=1e-5)
    assert read_activations(model, [], [4, 2]).shape == (0, 2, model.hidden_size)
    (together * torch.ones((), requires_grad=True)).sum().backward()  # they can be trained on
