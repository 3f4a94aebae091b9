"""Models that help defences: loaded whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from davsp.defences.helpers import Clip, RewardModel
from davsp.errors import ModelError
from tests.tiny import save_tiny_reward

RED = Image.new("RGB", (40, 30), "red")


def test_a_reward_model_has_one_label(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="2 labels"):
        RewardModel(str(save_tiny_reward(tmp_path, labels=2)))


def test_a_helper_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = save_tiny_reward(tmp_path) / "model.safetensors"
    kept = {name: value for name, value in load_file(weights).items() if name != "score.weight"}
    save_file(kept, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"no weights for score\.weight"):
        RewardModel(str(tmp_path))


def test_a_helper_that_was_overwritten_is_another(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = save_tiny_reward(tmp_path) / "model.safetensors"
    before = RewardModel(str(tmp_path)).identity
    assert RewardModel(str(tmp_path)).identity == before
    save_file({n: t * 0.5 for n, t in load_file(weights).items()}, weights, metadata={"format": "pt"})
    assert RewardModel(str(tmp_path)).identity != before


@pytest.mark.parametrize("kind", [Clip, RewardModel])
def test_a_helper_that_is_not_there_is_named(kind: type) -> None:
    with pytest.raises(ModelError, match="cannot load 'no-such/model'"):
        kind("no-such/model")


def test_clip_agrees_with_transformers_own_scores(clip_folder: Path) -> None:
    from transformers import CLIPModel, CLIPProcessor

    processor = CLIPProcessor.from_pretrained(clip_folder, backend="pil")
    inputs = processor(images=RED, text=["the picture"], return_tensors="pt")
    model = CLIPModel.from_pretrained(clip_folder)
    with torch.no_grad():
        expected = model(**inputs).logits_per_image.item() / model.logit_scale.exp().item()
    assert Clip(str(clip_folder)).similarity(RED, "the picture") == pytest.approx(expected, abs=1e-5)
