"""Everything that computes on a model's device runs on a pretended second one, where mixing the two raises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from davsp.api import ask
from davsp.data.query import Query
from davsp.defences.pat import PatFitting, PatOptions
from davsp.defences.visual_safety_prompt import train_prompt
from davsp.evaluation.run import evaluate
from davsp.models.activations import read_activations
from davsp.models.base import VisionLanguageModel
from davsp.models.loading import load_model
from davsp.prompts.layouts import Mode
from davsp.searches.signed_steps import ChangeFitting, ChangeOptions
from davsp.training.config import TrainConfig
from davsp.training.jobs import vector_for
from tests.devices import MixedDevices, elsewhere

PREFIX = "be careful ."
FEW = {"prefix": PREFIX, "steps": 2, "batch_size": 4, "validate_every": 1, "validation_answers": 2, "layer": 4}


@pytest.fixture(params=["testbed", "testbed-qwen2vl"])
def there(request: pytest.FixtureRequest) -> Iterator[VisionLanguageModel]:
    """A testbed model on the pretended device."""
    model = load_model(request.param)
    with elsewhere() as device:
        model.model.to(device)
        yield model


def test_the_pretended_device_tells_mixed_devices_and_computes_what_the_cpu_does() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(3, 4, generator=generator), torch.randn(4, 2, generator=generator)
    with elsewhere() as device:
        moved = (a.to(device) @ b.to(device)).cpu()
        with pytest.raises(MixedDevices, match="Expected all tensors to be on the same device"):
            a.to(device) + a
        with pytest.raises(TypeError, match="can't convert"):
            a.to(device).numpy()
        assert (a.to(device) + torch.tensor(1.0)).device == device
    assert torch.equal(moved, a @ b)


Two = tuple[list[Query], list[Query]]


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(Mode))
def test_a_prompt_is_trained_validated_and_asked(
    mode: Mode, there: VisionLanguageModel, queries: Two, tmp_path: Path
) -> None:
    if mode is Mode.FRAME and there.family == "llava":
        pytest.skip("a frame needs a model that takes images of any size")
    vector = vector_for(there, *queries, PREFIX, None, quiet=True)
    config = TrainConfig(mode=mode, side=112 if there.family != "llava" else None, **FEW)
    prompt = train_prompt([(there, vector)], config, *queries, tmp_path / "prompt", quiet=True)
    assert prompt.visual is not None
    assert prompt.visual.pixels.device.type == "cpu"
    assert ask(there, Image.new("RGB", (112, 112)), "what is it ?", prompt, max_new_tokens=4)


@pytest.mark.slow
def test_activations_are_given_back_on_the_cpu(there: VisionLanguageModel, queries: Two) -> None:
    assert read_activations(there, queries[1][:3], layers=[2, 4]).device.type == "cpu"


@pytest.mark.slow
def test_an_evaluation_runs(there: VisionLanguageModel, queries: Two, tmp_path: Path) -> None:
    from davsp.defences.textual import SafetyPrefix, Undefended

    chosen = [Undefended(), SafetyPrefix()]
    results = evaluate(there, chosen, queries[1][:4], output=tmp_path, max_new_tokens=4, progress=False)
    assert results.unscored == {"none": 0, "prefix": 0}


@pytest.mark.slow
def test_searches_over_tokens_and_pixels_take_a_step(there: VisionLanguageModel, queries: Two) -> None:
    pat = PatFitting(there, PatOptions(length=2, attack_length=2, steps=1, candidates=4, top_k=4), queries[0])
    assert pat.step(0)["defence_loss"] is not None
    images = [Image.new("RGB", (112, 112), "grey")]
    change = ChangeFitting(there, ChangeOptions(steps=1, side=112), ["sure , to make the cake"], images, raising=True)
    assert change.step(0)["corpus_loss"] > 0
