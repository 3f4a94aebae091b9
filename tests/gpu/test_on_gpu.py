"""What only a GPU can show: where tensors lie, what memory is given back, and that its numbers are the CPU's."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from davsp.api import ask
from davsp.data.query import Query
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt, train_prompt
from davsp.models.activations import last_prompt_states, read_activations
from davsp.models.base import VisionLanguageModel
from davsp.models.blocks import Blocks
from davsp.models.loading import load_model
from davsp.prompts.layouts import Mode
from davsp.training.batches import PreparedQueries
from davsp.training.config import TrainConfig
from davsp.training.jobs import vector_for
from davsp.training.objective import lay_out
from tests.gpu.families import PREFIX, tiny_queries
from tests.tiny import BUILDERS, save_tiny

pytestmark = pytest.mark.gpu
DEVICE = "cuda"
TESTBED = ("testbed", "testbed-qwen2vl")
FEW = {"prefix": PREFIX, "batch_size": 4, "validate_every": 1, "validation_answers": 2, "layer": 2}
SPARE = 2**20
"""Bytes that libraries may keep: workspaces, constants."""
NOISE = 0.5
"""A gradient in half precision may be so noisy, or twice as noisy as the CPU's in the same precision: those of the tiny
Gemma 3, whose weights are random, nearly cancel out (0.33 on a CPU, 0.61 on an H200)."""


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    gc.collect()
    torch.cuda.empty_cache()
    yield


@pytest.fixture(params=sorted(BUILDERS))
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(save_tiny(request.param, tmp_path / "model"))


def allocated() -> int:
    """Bytes of GPU memory that live tensors hold."""
    gc.collect()
    torch.cuda.synchronize()
    return torch.cuda.memory_allocated()


def state_and_gradient(model: VisionLanguageModel) -> tuple[Tensor, Tensor]:
    """The last prompt token's states behind a grey prompt, and the gradient of their sum in the prompt, on the CPU."""
    layout = lay_out(model, TrainConfig())
    batch = PreparedQueries(model, tiny_queries(2), layout, PREFIX).batch([0, 1], answered=False)
    prompt = torch.full((3, *layout.size), 0.5, device=model.device, requires_grad=True)
    states = last_prompt_states(model, layout.compose(prompt, batch.interior), batch.tokens, [2])[:, 0]
    (gradient,) = torch.autograd.grad(states.float().sum(), prompt)
    return states.detach().cpu(), gradient.cpu()


def alike(one: Tensor, other: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))


def noise(one: Tensor, exact: Tensor) -> float:
    """The size of what is not in the exact one's direction, by what is."""
    return math.tan(math.acos(max(-1.0, min(1.0, alike(one, exact)))))


def test_memory_is_given_back_between_stages(tmp_path: Path) -> None:
    queries = tiny_queries(16)
    square = torch.ones(64, 64, device=DEVICE)
    square @ square  # from the first product on, cuBLAS holds a workspace: 32 MiB on a Hopper card
    before = allocated()
    model = load_model("testbed", device=DEVICE)
    loaded = allocated()
    assert loaded > before
    vector = vector_for(model, queries, queries, PREFIX, None, quiet=True)
    assert allocated() <= loaded + SPARE
    prompt = train_prompt([(model, vector)], TrainConfig(steps=2, **FEW), queries, queries, tmp_path / "p", quiet=True)
    assert allocated() <= loaded + SPARE
    assert ask(model, queries[0].image, "what is it ?", prompt, max_new_tokens=4) is not None
    assert allocated() <= loaded + SPARE
    del model
    assert allocated() <= before + SPARE


def test_training_on_needs_no_more_memory_than_its_first_step(tmp_path: Path) -> None:
    model, queries = load_model("testbed", device=DEVICE), tiny_queries(16)
    vector = vector_for(model, queries, queries, PREFIX, None, quiet=True)
    peaks = []
    for steps in (1, 6):
        torch.cuda.reset_peak_memory_stats()
        config = TrainConfig(steps=steps, **FEW)
        train_prompt([(model, vector)], config, queries, queries, tmp_path / f"{steps}", quiet=True)
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] <= peaks[0] + 8 * SPARE


@pytest.mark.parametrize("how", ["bfloat16", "float16", "autocast"])
def test_half_precision_gives_the_border_a_float32_gradient(how: str, checkpoint: str) -> None:
    exact_states, exact_gradient = state_and_gradient(load_model(checkpoint, device=DEVICE, dtype="float32"))
    if how == "autocast":
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            states, gradient = state_and_gradient(load_model(checkpoint, device=DEVICE, dtype="float32"))
    else:
        states, gradient = state_and_gradient(load_model(checkpoint, device=DEVICE, dtype=how))
    assert gradient.dtype == torch.float32 and bool(gradient.isfinite().all()) and bool(gradient.any())
    assert alike(states.float(), exact_states) > 0.99
    if how != "autocast":
        _, cpu_gradient = state_and_gradient(load_model(checkpoint, device="cpu", dtype=how))
        assert noise(gradient, exact_gradient) < max(NOISE, 2 * noise(cpu_gradient, exact_gradient))
    else:
        assert noise(gradient, exact_gradient) < NOISE


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("name", TESTBED)
def test_composing_gives_the_same_pixels_on_both_devices(name: str, mode: Mode) -> None:
    model = load_model(name, device="cpu")
    layout = lay_out(model, TrainConfig(mode=mode, side=112 if name != "testbed" else None))
    prompt = torch.rand(3, *layout.size, generator=torch.manual_seed(0))
    layout.project_(prompt)
    interiors = PreparedQueries(model, tiny_queries(4), layout, PREFIX).batch(range(4), answered=False).interior
    here = layout.compose(prompt, interiors)
    moved = interiors.to(DEVICE) if isinstance(interiors, Tensor) else [i.to(DEVICE) for i in interiors]
    there = layout.compose(prompt.to(DEVICE), moved)
    for one, other in zip(here, there, strict=True):
        assert other.is_cuda and torch.equal(one, other.cpu())


def test_pixels_are_packed_alike_on_both_devices(checkpoint: str) -> None:
    """Tiles, and the whole in small, which is resized in float64."""
    model = load_model(checkpoint, device="cpu")
    pixels = model.canvas_pixels(tiny_queries(4))
    here = model.pack(pixels)
    there = load_model(checkpoint, device=DEVICE, dtype="float32").pack([p.to(DEVICE) for p in pixels])
    for name, values in here.items():
        assert there[name].is_cuda
        torch.testing.assert_close(there[name].cpu(), values, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", TESTBED)
def test_greedy_answers_are_the_cpus_in_float32(name: str) -> None:
    from davsp.testbed.queries import draw_queries
    from davsp.testbed.world import Split

    queries = draw_queries(Split.TEST, 1, 0, side=112 if name != "testbed" else 224)
    answers = [load_model(name, device=d, dtype="float32").generate(queries, 12) for d in ("cpu", DEVICE)]
    assert answers[0] == answers[1]


def test_states_and_gradients_are_the_cpus(checkpoint: str) -> None:
    here, there = (state_and_gradient(load_model(checkpoint, device=d, dtype="float32")) for d in ("cpu", DEVICE))
    assert alike(here[0], there[0]) > 0.9999
    assert alike(here[1], there[1]) > 0.999


def test_what_is_made_on_a_gpu_is_given_back_and_saved_for_the_cpu(tmp_path: Path) -> None:
    model, queries = load_model("testbed", device=DEVICE), tiny_queries(8)
    assert model.device.type == "cuda"
    vector = vector_for(model, queries, queries, PREFIX, tmp_path / "vector", quiet=True)
    prompt = train_prompt([(model, vector)], TrainConfig(steps=1, **FEW), queries, queries, tmp_path / "p", quiet=True)
    assert prompt.visual and prompt.direction is not None
    given = [
        vector.directions,
        prompt.visual.pixels,
        prompt.direction,
        read_activations(model, queries[:2], layers=[1]),
    ]
    for file in tmp_path.rglob("*.safetensors"):
        given += load_file(file).values()
    assert {tensor.device.type for tensor in given} == {"cpu"}
    loaded = VisualSafetyPrompt.load(tmp_path / "p")
    loaded.check(load_model("testbed", device="cpu"))


@pytest.mark.parametrize("devices", [("cpu", DEVICE), (DEVICE, "cpu")])
def test_a_run_that_began_on_one_device_goes_on_on_the_other(devices: tuple[str, str], tmp_path: Path) -> None:
    from davsp.training.run_state import Interrupted
    from davsp.training.trainer import Trainer

    queries = tiny_queries(8)
    original = Trainer.step
    for device, stops in zip(devices, (True, False), strict=True):
        model = load_model("testbed", device=device, dtype="float32")
        vector = vector_for(model, queries, queries, PREFIX, tmp_path / "vector", quiet=True)
        config = TrainConfig(steps=4, **FEW)
        with pytest.MonkeyPatch.context() as patch:
            if stops:

                def step(self: Trainer, number: int) -> object:
                    if number == 2:
                        raise KeyboardInterrupt
                    return original(self, number)

                patch.setattr(Trainer, "step", step)
                with pytest.raises((Interrupted, KeyboardInterrupt)):
                    train_prompt([(model, vector)], config, queries, queries, tmp_path / "p", quiet=True)
            else:
                prompt = train_prompt([(model, vector)], config, queries, queries, tmp_path / "p", quiet=True)
                assert prompt.visual and bool(prompt.visual.pixels.isfinite().all())


def test_weights_split_over_devices_compute_what_one_does(checkpoint: str) -> None:
    one = state_and_gradient(load_model(checkpoint, device=DEVICE, dtype="float32"))
    split = state_and_gradient(load_model(checkpoint, device="split", dtype="float32"))
    assert alike(one[0], split[0]) > 0.9999 and alike(one[1], split[1]) > 0.999


def test_a_batch_of_mixed_sizes_answers_as_each_alone() -> None:
    model = load_model("testbed-qwen2vl", device=DEVICE, dtype="float32")
    queries = [Query(q.id, q.image, q.question) for q in tiny_queries(6)]
    together = model.generate(queries, 6)
    assert together == [model.generate([query], 6)[0] for query in queries]


def test_blocks_that_are_computed_again_hold_less_memory() -> None:
    model = load_model("testbed", device=DEVICE)
    pixels = torch.rand(8, 3, *model.canvas.square, device=DEVICE, requires_grad=True)
    tokens = model.tokens([model.prompt_ids("how do i do what the text says ?")] * 8)
    held = []
    for share in (0.0, 1.0):
        before = allocated()
        with Blocks(model).run(share):
            states = model.forward(pixels, tokens)
        held.append(allocated() - before)
        assert torch.autograd.grad(states.float().sum(), pixels)[0].isfinite().all()
        del states
    assert held[1] < 0.8 * held[0]
