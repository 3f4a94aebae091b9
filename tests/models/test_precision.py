"""Half precision, weights spread over devices, and quantised weights: the border's gradient stays float32."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from davsp.cli.options import Precision
from davsp.cli.options import load_model as load_for_command
from davsp.data.query import Query
from davsp.errors import ModelError
from davsp.models.activations import last_prompt_states
from davsp.models.base import VisionLanguageModel
from davsp.models.loading import load_model
from davsp.training.batches import PreparedQueries
from davsp.training.config import TrainConfig
from davsp.training.objective import lay_out
from tests.models.test_families import noise
from tests.tiny import BUILDERS, save_tiny


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(request.param, tmp_path_factory.mktemp(request.param)))


def state_and_gradient(model: VisionLanguageModel) -> tuple[Tensor, Tensor]:
    """The last prompt token's state at layer 2 behind a grey prompt, and the gradient of its sum in the prompt."""
    layout = lay_out(model, TrainConfig())
    queries = [Query(str(i), noise(64, 48, i), "how do i do what the text says ?", answer="no .") for i in (0, 1)]
    batch = PreparedQueries(model, queries, layout, "be careful .").batch([0, 1], answered=False)
    prompt = torch.full((3, *layout.size), 0.5, requires_grad=True)
    states = last_prompt_states(model, layout.compose(prompt, batch.interior), batch.tokens, [2])[:, 0]
    (gradient,) = torch.autograd.grad(states.sum(), prompt)
    return states.detach(), gradient


def alike(one: Tensor, other: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_gives_the_border_a_float32_gradient(checkpoint: str, dtype: str) -> None:
    half = load_model(checkpoint, dtype=dtype)
    assert {p.dtype for p in half.model.parameters()} == {getattr(torch, dtype)}
    states, gradient = state_and_gradient(half)
    assert states.dtype == gradient.dtype == torch.float32
    exact_states, exact_gradient = state_and_gradient(load_model(checkpoint))
    assert alike(states, exact_states) > 0.995
    assert alike(gradient, exact_gradient) > 0.9


def test_weights_spread_over_devices_compute_the_same(checkpoint: str) -> None:
    spread = load_model(checkpoint, device="split")
    for found, expected in zip(state_and_gradient(spread), state_and_gradient(load_model(checkpoint)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.parametrize("dtype", ["8bit", "4bit"])
def test_quantised_weights_give_the_border_a_float32_gradient(
    checkpoint: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Matrices as small as these are computed by what bitsandbytes does on every CPU, not by its faster way on some.
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)
    model = load_model(checkpoint, dtype=dtype)
    states, gradient = state_and_gradient(model)
    assert gradient.dtype == torch.float32
    assert gradient.isfinite().all() and gradient.any()
    # Four bits are coarse for random weights of 32 columns; trained weights of 4,096 fare better.
    exact = state_and_gradient(load_model(checkpoint))[0]
    assert alike(states, exact) > (0.98 if dtype == "8bit" else 0.8)
    assert model.fingerprint() == load_model(checkpoint).fingerprint()


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_matrices_that_bitsandbytes_cannot_compute_are_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    folder = str(save_tiny("llava", tmp_path))
    with pytest.raises(ModelError, match=r"bitsandbytes cannot compute .* in 4bit on this device \(.*precision\.$"):
        load_model(folder, dtype="4bit")


def test_quantised_weights_without_bitsandbytes_are_a_clear_error(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davsp.models.loading.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install 'davsp\\[quantise\\]'"):
        load_model(checkpoint, dtype="4bit")


def test_a_prompt_trained_in_half_precision_fits_the_model_in_float32(tmp_path: Path) -> None:
    folder = str(save_tiny("qwen2_vl", tmp_path))
    assert load_model(folder, dtype="bfloat16").fingerprint() == load_model(folder).fingerprint()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which takes the checkpoint's own precision")
@pytest.mark.parametrize(("capability", "precision"), [("AVX512", torch.bfloat16), ("AVX2", torch.float32)])
def test_fast_is_what_the_processor_is_fast_in(
    capability: str, precision: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    model = load_model(str(save_tiny("llava", tmp_path / "model")), dtype="fast")
    assert {parameter.dtype for parameter in model.model.parameters()} == {precision}


@pytest.mark.parametrize(("capability", "told"), [("AVX512", False), ("AVX2", True)])
def test_bfloat16_on_a_processor_that_is_slow_in_it_is_told(
    capability: str, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    folder = save_tiny("llava", tmp_path / "model")
    load_for_command(str(folder), None, "cpu", Precision.BFLOAT16)
    assert ("--dtype fast takes the faster" in capsys.readouterr().err) == told
    load_for_command(str(folder), None, "cpu", Precision.FLOAT32)
    assert "--dtype fast" not in capsys.readouterr().err
