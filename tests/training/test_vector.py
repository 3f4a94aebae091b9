"""The harmfulness vector agrees with the paper's formula, and says how good it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from davsp.api import train
from davsp.data.query import Query
from davsp.errors import ArtefactError, InputError
from davsp.models.base import VisionLanguageModel
from davsp.models.loading import load_model
from davsp.models.probe import Probe
from davsp.training.config import TrainConfig
from davsp.training.objective import plan
from davsp.training.separation import LayerStatistics, auroc, choose_layer
from davsp.training.vector import HarmfulnessVector, extract_vector, project
from tests.reference.deep_alignment import harmfulness_vector, hidden_state
from tests.tiny import save_tiny

Sets = tuple[list[Query], list[Query]]


def test_directions_agree_with_the_reference(
    model: VisionLanguageModel, queries: Sets, vector: HarmfulnessVector
) -> None:
    states: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    for query in queries[0]:
        packed = model.pack(model.canvas_pixels([query]))["pixel_values"][0]
        states[query.malicious].append(
            hidden_state(model.model, packed, model.prompt_ids(query.question, "be careful ."), 3)
        )
    slow = harmfulness_vector(states[True], states[False])
    assert torch.allclose(vector.directions[2], slow, atol=1e-5)


def test_directions_have_unit_length(vector: HarmfulnessVector) -> None:
    assert torch.allclose(vector.directions.norm(dim=1), torch.ones(len(vector.directions)))


def test_the_batch_size_does_not_matter(model: VisionLanguageModel, queries: Sets, vector: HarmfulnessVector) -> None:
    again = extract_vector(model, *queries, prefix="be careful .", batch_size=5)
    assert torch.allclose(again.directions, vector.directions, atol=1e-5)


def test_statistics_describe_the_validation_projections(
    model: VisionLanguageModel, queries: Sets, vector: HarmfulnessVector
) -> None:
    values = project(model, queries[1], Probe.at(4, vector.direction(4)), prefix="be careful .", batch_size=7)
    malicious = torch.tensor([q.malicious for q in queries[1]])
    at = vector.at(4)
    assert at.malicious_mean == pytest.approx(values[malicious].mean().item(), abs=1e-4)
    assert at.benign_std == pytest.approx(values[~malicious].std(correction=0).item(), abs=1e-4)


def test_auroc_counts_pairs_and_halves_ties() -> None:
    rng = np.random.default_rng(0)
    high, low = rng.integers(0, 8, 30).astype(float), rng.integers(0, 6, 20).astype(float)
    slow = np.mean([(h > b) + 0.5 * (h == b) for h in high for b in low])
    assert auroc(high, low) == pytest.approx(slow)


def statistics(separation: float, error: float, layer: int) -> LayerStatistics:
    return LayerStatistics(layer, 1.0, 1.0, 0.0, 1.0, 0.9, separation, error)


def test_the_earliest_layer_within_noise_of_the_best_is_chosen() -> None:
    found = [statistics(s, 0.2, k) for k, s in enumerate([1.0, 2.85, 2.95, 3.0], start=1)]
    assert choose_layer(found) == 2


def test_a_given_layer_is_kept(model: VisionLanguageModel, queries: Sets) -> None:
    assert extract_vector(model, *queries, prefix="", layer=2, batch_size=32).layer == 2


@pytest.mark.parametrize("layer", [0, 7, 99])
def test_a_layer_that_there_is_not_is_refused_before_anything_is_read(
    model: VisionLanguageModel, queries: Sets, layer: int
) -> None:
    with pytest.raises(InputError, match=f"layer {layer} does not exist: testbed has layers 1 to 6"):
        extract_vector(model, *queries, prefix="", layer=layer)


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    """A model of three decoder layers whose first does not see the image."""
    return load_model(str(save_tiny("mllama", tmp_path_factory.mktemp("mllama"))))


@pytest.fixture(scope="module")
def pairs() -> list[Query]:
    """Queries that are told apart by their text, so that layers which do not see the image separate them too."""
    grey = Image.new("RGB", (40, 40), "grey")
    return [
        Query(f"{side}{i}", grey, f"count {i} ." if side else f"do it {i} .", "one", bool(side))
        for i in range(4)
        for side in (0, 1)
    ]


def test_no_layer_before_the_image_is_chosen(
    late: VisionLanguageModel, pairs: list[Query], monkeypatch: pytest.MonkeyPatch
) -> None:
    best_first = [statistics(9.0 - k, 0.1, k) for k in (1, 2, 3)]
    monkeypatch.setattr("davsp.training.vector.layer_statistics", lambda *_, **__: tuple(best_first))
    vector = extract_vector(late, pairs, pairs, prefix="")
    assert (vector.layer, len(vector.statistics)) == (2, 3)


def test_a_layer_before_the_image_is_refused_by_name(late: VisionLanguageModel, pairs: list[Query]) -> None:
    reason = "layer 1 of .* does not see the image yet.*: choose one from 2 to 3"
    with pytest.raises(InputError, match=reason):
        extract_vector(late, pairs, pairs, prefix="", layer=1)
    with pytest.raises(InputError, match=reason):
        train(late, pairs, validation=pairs, layer=1, prefix="", progress=False)
    vector = extract_vector(late, pairs, pairs, prefix="", layer=2)
    with pytest.raises(InputError, match=reason):
        plan(late, replace(vector, layer=1), TrainConfig(prefix="", tau_plus=1, tau_minus=-1))
    assert plan(late, replace(vector, layer=1), TrainConfig(prefix="", layer=3)).layer == 3


def test_one_sided_queries_are_refused(model: VisionLanguageModel, queries: Sets) -> None:
    benign = [q for q in queries[0] if not q.malicious]
    with pytest.raises(InputError, match="malicious and benign"):
        extract_vector(model, benign, queries[1], prefix="")


def test_saving_and_loading_keeps_everything(vector: HarmfulnessVector, tmp_path: Path) -> None:
    vector.save(tmp_path)
    read = HarmfulnessVector.load(tmp_path)
    assert torch.equal(read.directions, vector.directions)
    assert (read.layer, read.statistics, read.origin) == (vector.layer, vector.statistics, vector.origin)


@pytest.mark.parametrize("damage", ["missing", "truncated", "newer", "no json"])
def test_a_damaged_vector_is_a_clear_error(vector: HarmfulnessVector, tmp_path: Path, damage: str) -> None:
    vector.save(tmp_path)
    weights, description = tmp_path / "vector.safetensors", tmp_path / "vector.json"
    match damage:
        case "missing":
            weights.unlink()
        case "truncated":
            weights.write_bytes(weights.read_bytes()[:50])
        case "newer":
            description.write_text(description.read_text().replace('"schema": 1', '"schema": 9'))
        case _:
            description.write_text("{")
    with pytest.raises(ArtefactError, match="upgrade davsp" if damage == "newer" else "run `davsp vector` again"):
        HarmfulnessVector.load(tmp_path)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("layer",), "six"),
        (("layer",), None),
        (("layer",), 0),
        (("layer",), 10**30),
        (("origin",), "model"),
        (("statistics",), 5),
        (("statistics", 2), {}),
        (("statistics", 2, "benign_mean"), "http://127.0.0.1/x.png"),
        (("statistics", 2, "layer"), 5),
    ],
)
def test_a_value_of_another_kind_is_a_clear_error(
    vector: HarmfulnessVector, tmp_path: Path, keys: tuple[str | int, ...], value: object
) -> None:
    vector.save(tmp_path)
    description = json.loads((tmp_path / "vector.json").read_text())
    part = description
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    (tmp_path / "vector.json").write_text(json.dumps(description))
    with pytest.raises(ArtefactError, match=r"vector\.json (is damaged|and vector).* run `davsp vector` again"):
        HarmfulnessVector.load(tmp_path)


@pytest.mark.parametrize("content", ["[" * 100_000, "9" * 5000, "null", "[1]"])
def test_what_is_no_readable_json_is_a_clear_error(vector: HarmfulnessVector, tmp_path: Path, content: str) -> None:
    vector.save(tmp_path)
    (tmp_path / "vector.json").write_text(content)
    with pytest.raises(ArtefactError, match="run `davsp vector` again"):
        HarmfulnessVector.load(tmp_path)


@pytest.mark.parametrize(
    "directions", [torch.ones(3), torch.ones(6, 4, dtype=torch.int64), torch.full((6, 4), torch.nan)]
)
def test_directions_that_are_none_are_a_clear_error(
    vector: HarmfulnessVector, tmp_path: Path, directions: torch.Tensor
) -> None:
    vector.save(tmp_path)
    save_file({"directions": directions}, tmp_path / "vector.safetensors")
    with pytest.raises(ArtefactError, match="holds no directions: run `davsp vector` again"):
        HarmfulnessVector.load(tmp_path)
