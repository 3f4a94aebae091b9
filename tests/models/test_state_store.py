from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from davsp.data.query import Query
from davsp.models.activations import activation_batches, read_activations
from davsp.models.base import VisionLanguageModel
from davsp.models.state_store import StateStore

Two = tuple[list[Query], list[Query]]


def test_what_was_read_is_not_read_again(
    model: VisionLanguageModel, queries: Two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = queries[0][:5]
    every = range(1, model.n_layers + 1)
    expected = read_activations(model, asked, every)
    [first] = StateStore(tmp_path, model).batches([asked[:3]])
    assert torch.allclose(first, expected[:3], atol=1e-4)

    read: list[str] = []

    def counted(
        model: VisionLanguageModel, batches: Sequence[Sequence[Query]], layers: Sequence[int]
    ) -> Iterator[Tensor]:
        read.extend(query.id for batch in batches for query in batch)
        return activation_batches(model, batches, layers)

    monkeypatch.setattr("davsp.models.state_store.activation_batches", counted)
    batches = list(StateStore(tmp_path, model).batches([asked[:2], asked[2:]]))
    assert read == [query.id for query in asked[3:]]
    assert torch.equal(torch.cat(batches)[:3], first)
    assert torch.allclose(torch.cat(batches), expected, atol=1e-4)

    others = [asked[0].with_prefix("another ."), asked[0]]
    read.clear()
    list(StateStore(tmp_path, model).batches([others]))
    assert read == [asked[0].id]  # another question


def test_a_damaged_file_is_read_again(model: VisionLanguageModel, queries: Two, tmp_path: Path) -> None:
    store = StateStore(tmp_path, model)
    [first] = store.batches([queries[0][:1]])
    [file] = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:20])
    [again] = store.batches([queries[0][:1]])
    assert torch.equal(first, again)
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".safetensors"]
