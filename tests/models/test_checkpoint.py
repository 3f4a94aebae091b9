"""A checkpoint is told by its content: any tensor, and any file that changes what is asked or answered."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from davsp.errors import ModelError
from davsp.models.checkpoint import BLOCK, BLOCKS, checkpoint_folder, digest_checkpoint
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llava", tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def change(folder: Path, name: str, by: float) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors[name] = tensors[name] + by
    save_file(tensors, file, {"format": "pt"})


def test_a_copy_is_the_same_checkpoint(original: Path, copy: Path) -> None:
    assert digest_checkpoint(copy) == digest_checkpoint(original)


def test_a_change_of_any_tensor_changes_the_weights_alone(original: Path, copy: Path) -> None:
    before = digest_checkpoint(original)
    for name in load_file(original / "model.safetensors"):
        change(copy, name, 1e-3)
        after = digest_checkpoint(copy)
        assert after.weights != before.weights, name
        assert after.settings == before.settings
        shutil.copy(original / "model.safetensors", copy / "model.safetensors")


def test_a_merged_low_rank_adapter_is_seen_in_a_large_matrix(tmp_path: Path) -> None:
    digests = []
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(600, 700, generator=generator).bfloat16()
    update = torch.randn(600, 2, generator=generator) @ torch.randn(2, 700, generator=generator)
    for name, weight in {"base": matrix, "merged": (matrix.float() + 0.05 * update).bfloat16()}.items():
        assert weight.nbytes > BLOCK * BLOCKS
        (tmp_path / name).mkdir()
        save_file({"q_proj.weight": weight}, tmp_path / name / "model.safetensors")
        digests.append(digest_checkpoint(tmp_path / name).weights)
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    "file", ["config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja", "processor_config.json"]
)
def test_a_change_of_a_settings_file_changes_the_settings_alone(file: str, original: Path, copy: Path) -> None:
    path = copy / file
    path.write_text(path.read_text() + " " if path.exists() else "{}")
    before, after = digest_checkpoint(original), digest_checkpoint(copy)
    assert after.settings != before.settings
    assert after.weights == before.weights


def test_a_card_and_the_spread_over_files_do_not_count(original: Path, copy: Path) -> None:
    (copy / "README.md").write_text("A card.")
    tensors = load_file(copy / "model.safetensors")
    names = sorted(tensors)
    save_file({n: tensors[n] for n in names[::2]}, copy / "model-00001-of-00002.safetensors")
    save_file({n: tensors[n] for n in names[1::2]}, copy / "model-00002-of-00002.safetensors")
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {}}))
    assert digest_checkpoint(copy) == digest_checkpoint(original)


def test_older_weight_files_are_sampled_too(tmp_path: Path) -> None:
    digests = set()
    for value in (0.0, 1.0):
        torch.save({"weight": torch.full((100, 100), value)}, tmp_path / "pytorch_model.bin")
        digests.add(digest_checkpoint(tmp_path).weights)
    assert len(digests) == 2


DEEP = b"\xa0\x86\x01\0\0\0\0\0" + b"[" * 100_000


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 30, b"\x02\0\0\0\0\0\0\0[]", b'\x0e\0\0\0\0\0\0\0{"a": {"b":1}}', DEEP]
)
def test_a_damaged_weight_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    if content.endswith(b"[]"):
        assert digest_checkpoint(tmp_path)
        return
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        digest_checkpoint(tmp_path)


def test_a_model_that_is_nowhere_is_named(tmp_path: Path) -> None:
    assert checkpoint_folder(str(tmp_path)) == tmp_path
    with pytest.raises(ModelError, match="'someone/nothing' are not in the local cache"):
        checkpoint_folder("someone/nothing")
