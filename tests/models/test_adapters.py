"""Adapters are merged into their base model, which is then a model like any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from davsp.data.conversation import one_turn
from davsp.data.query import Query
from davsp.defences.stored import BaseModelFacts
from davsp.errors import ModelError
from davsp.imaging.pixels import stack
from davsp.models.activations import last_prompt_states
from davsp.models.base import VisionLanguageModel
from davsp.models.loading import load_model
from tests.tiny import save_tiny

pytest.importorskip("peft", reason="merges adapters: pip install peft, which the extra `adapters` has")

RANK, ALPHA = 4, 8
MODULES = [f"layers.{layer}.self_attn.{name}_proj" for layer in range(3) for name in "qv"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llava", tmp_path_factory.mktemp("base") / "tiny")


def updates() -> dict[str, tuple[Tensor, Tensor]]:
    """The two factors of each module's change, by the module's name."""
    draw = torch.Generator().manual_seed(0)
    return {
        name: (
            torch.randn(RANK, 32, generator=draw) / 4,
            torch.randn(16 if "v_proj" in name else 32, RANK, generator=draw) / 4,
        )
        for name in MODULES
    }


def save_adapter(folder: Path, base: Path | str, prefix: str = "base_model.model.model.language_model.") -> Path:
    """An adapter as PEFT saves it, of the decoder's query and value matrices."""
    folder.mkdir()
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": str(base),
        "r": RANK,
        "lora_alpha": ALPHA,
        "target_modules": r".*language_model.*\.(q_proj|v_proj)",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    tensors = {
        f"{prefix}{name}.lora_{side}.weight": factor
        for name, factors in updates().items()
        for side, factor in zip("AB", factors, strict=True)
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def change_config(folder: Path, **values: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    "prefix",
    ["base_model.model.model.language_model.", "base_model.model.language_model.model."],
    ids=["of today", "of transformers 4"],
)
def test_an_adapter_is_merged_into_the_weights_of_its_base(base: Path, prefix: str, tmp_path: Path) -> None:
    merged = load_model(str(save_adapter(tmp_path / "adapter", base, prefix))).model.state_dict()
    expected = load_model(str(base)).model.state_dict()
    assert merged.keys() == expected.keys()
    for name, (down, up) in updates().items():
        expected[f"model.language_model.{name}.weight"] += ALPHA / RANK * up @ down
    for name, weight in expected.items():
        torch.testing.assert_close(merged[name], weight, msg=name)


@pytest.fixture(scope="module")
def adapted(base: Path, tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    return load_model(str(save_adapter(tmp_path_factory.mktemp("adapter") / "adapter", base)))


def test_a_merged_model_answers_and_has_gradients_like_any_other(adapted: VisionLanguageModel) -> None:
    assert not any(parameter.requires_grad for parameter in adapted.model.parameters())
    grey = Image.new("RGB", (28, 28), "grey")
    assert len(adapted.generate([Query("q", grey, "count the shapes .")], 3)) == 1
    pixels = stack([grey]).requires_grad_()
    states = last_prompt_states(adapted, pixels, adapted.tokens([adapted.prompt_ids("count .")]), [2])
    assert torch.autograd.grad(states.sum(), pixels)[0].any()


def test_base_and_adapter_are_told_apart_by_their_content(
    base: Path, adapted: VisionLanguageModel, tmp_path: Path
) -> None:
    again = save_adapter(tmp_path / "again", base)
    assert load_model(str(again)).weights == adapted.weights
    assert load_model(str(base)).weights != adapted.weights
    facts = BaseModelFacts.of(adapted)
    assert not facts.differences(load_model(str(again)))
    assert facts.differences(load_model(str(base)))
    tensors = load_file(again / "adapter_model.safetensors")
    save_file({name: tensor * 2 for name, tensor in tensors.items()}, again / "adapter_model.safetensors")
    assert load_model(str(again)).weights != adapted.weights


def test_the_chat_template_that_was_saved_with_an_adapter_counts(base: Path, tmp_path: Path) -> None:
    folder = save_adapter(tmp_path / "adapter", base)
    (folder / "chat_template.jinja").write_text("{{ 'Q: ' + messages[0]['content'] }}")
    model = load_model(str(folder))
    assert "Q: what ?" in model.tokenizer.decode(model.chat_ids(one_turn("what ?"), []))


def test_the_processor_that_was_saved_with_an_adapter_counts(base: Path, tmp_path: Path) -> None:
    folder = save_adapter(tmp_path / "adapter", base)
    processor = load_model(str(base)).processor
    processor.image_processor.image_mean = [0.1, 0.2, 0.3]
    processor.save_pretrained(folder)
    assert list(load_model(str(folder)).processor.image_processor.image_mean) == [0.1, 0.2, 0.3]


def _pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def _empty(folder: Path) -> None:
    save_file({}, folder / "adapter_model.safetensors")


def _truncated(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:200])


def _of_another_width(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({n: t.repeat(2, 2) for n, t in tensors.items()}, folder / "adapter_model.safetensors")


def _not_finite(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({n: t * torch.nan for n, t in tensors.items()}, folder / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_pickled, r"adapter_model\.bin may hold code, and is never read"),
        (_empty, "0 of its 0 tensors"),
        (_truncated, "cannot be merged"),
        (_of_another_width, "cannot be merged"),
        (_not_finite, "cannot be merged"),
        (lambda folder: change_config(folder, base_model_name_or_path=None), "names no base model"),
        (lambda folder: change_config(folder, base_model_name_or_path=7), "names no base model"),
        (
            lambda folder: change_config(folder, base_model_name_or_path="nobody/nothing"),
            "its base model is not usable",
        ),
        (lambda folder: change_config(folder, base_model_name_or_path=str(folder)), "its base model is not usable"),
        (lambda folder: change_config(folder, peft_type="XLORA"), "of kind XLORA, and only LORA is merged"),
        (lambda folder: change_config(folder, r="four"), "cannot be merged"),
        (lambda folder: change_config(folder, target_modules=["nowhere"]), "cannot be merged"),
        (lambda folder: (folder / "config.json").write_text("{}"), "holds a whole model .* and an adapter"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "adapter_config.json").write_text("[" * 100_000), "cannot be read"),
    ],
)
def test_an_adapter_that_cannot_be_used_is_a_clear_error(
    damage: Callable[[Path], object], reason: str, base: Path, tmp_path: Path
) -> None:
    folder = save_adapter(tmp_path / "adapter", base)
    damage(folder)
    with pytest.raises(ModelError, match=reason):
        load_model(str(folder))


def test_an_adapter_of_another_model_is_a_clear_error(tmp_path: Path) -> None:
    folder = save_adapter(tmp_path / "adapter", save_tiny("qwen2_vl", tmp_path / "qwen"), "base_model.model.elsewhere.")
    with pytest.raises(ModelError, match=r"12 of its 12 tensors have no place in it, such as .*elsewhere"):
        load_model(str(folder))


def test_an_adapter_is_not_merged_into_quantised_weights(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be merged into weights of 8bit: choose another precision"):
        load_model(str(save_adapter(tmp_path / "adapter", base)), dtype="8bit")


def test_without_peft_it_is_said_how_to_merge(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("davsp.models.adapters.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'davsp\[adapters\]', or merge it .*merge_and_unload"):
        load_model(str(save_adapter(tmp_path / "adapter", base)))
