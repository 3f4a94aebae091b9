"""Multipliers hold divergences under their bounds, and the safest prompt within them is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from davsp.data.query import Query
from davsp.errors import InputError
from davsp.models.base import VisionLanguageModel
from davsp.training.config import Benign, TrainConfig
from davsp.training.constraint import LIMITS, RATE, Multiplier, excess, multipliers_of
from davsp.training.jobs import make_objectives
from davsp.training.lookalikes import MARK, is_lookalike, with_lookalikes
from davsp.training.loop import resume
from davsp.training.objective import Objective
from davsp.training.run_state import read_metrics
from davsp.training.trainer import Trainer
from davsp.training.vector import HarmfulnessVector
from tests.reference.divergence import multiplier_after

Sets = tuple[list[Query], list[Query]]
QUICK = {"prefix": "be careful .", "steps": 4, "validate_every": 2, "validation_answers": 2, "batch_size": 8}


@pytest.fixture(scope="module")
def objective(model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets) -> Objective:
    config = TrainConfig.model_validate({**QUICK, "benign": Benign.DIVERGENCE})
    return make_objectives([(model, vector)], config, queries[0], queries[1][::2], quiet=True)[0]


@pytest.fixture
def make(objective: Objective) -> Callable[..., Trainer]:
    """A trainer with options beside those of QUICK; what the model says undefended is made but once."""

    def trainer(**options: object) -> Trainer:
        config = objective.plan.config.model_copy(update=options)
        return Trainer([replace(objective, plan=replace(objective.plan, config=config))])

    return trainer


def test_a_multiplier_follows_the_reference_and_stays_within_limits() -> None:
    multiplier, found = Multiplier(0.02, 1.0), [0.05, 0.021, 0.019, 0.001, 0.0]
    for divergence in found:
        multiplier.ascend(divergence)
    assert multiplier.value == pytest.approx(multiplier_after(1.0, found, 0.02, RATE))
    for divergence, limit in ((9.0, LIMITS[1]), (0.0, LIMITS[0])):
        for _ in range(200):
            multiplier.ascend(divergence)
        assert multiplier.value == limit


def test_a_divergence_counts_in_shares_of_its_bound() -> None:
    assert Multiplier(0.02, 3.0).weight == pytest.approx(150.0)
    assert Multiplier(None, 3.0).weight == 3.0


def test_without_a_bound_the_weight_stays_what_it_is() -> None:
    weights = multipliers_of(TrainConfig(benign=Benign.DIVERGENCE, keep=None, answer_weight=0.3))
    for multiplier in weights.values():
        multiplier.ascend(9.0)
    assert {name: m.value for name, m in weights.items()} == {"benign": 0.3, "harmless": 0.3}
    assert excess(weights, {"benign": 9.0, "harmless": 9.0}) == 0.0


def test_look_alikes_have_a_bound_of_their_own_and_by_default_the_others() -> None:
    assert multipliers_of(TrainConfig(keep=0.5))["harmless"].bound == 0.5
    bounds = multipliers_of(TrainConfig(keep=0.5, keep_lookalikes=0.25))
    assert {name: m.bound for name, m in bounds.items()} == {"benign": 0.5, "harmless": 0.25}
    assert excess(bounds, {"benign": 0.6, "harmless": 0.5}) == pytest.approx(1.0)
    assert excess(bounds, {"benign": 0.4}) <= 0.0


def test_a_step_logs_the_mean_divergence_of_each_class_whatever_the_micro_batches(make: Callable[..., Trainer]) -> None:
    records = []
    for micro_batch in (8, 3):
        trainer = make(micro_batch=micro_batch, batch_size=16)
        records.append(trainer.step(0))
        side = trainer.objectives[0].sides[False]
        chosen = trainer.order[False].take(0, 8)
        alike = [is_lookalike(side.queries[i]) for i in chosen]
        assert any(alike) and not all(alike)
    assert records[1] == pytest.approx(records[0], rel=1e-3, abs=1e-6)
    trainer = make()
    start = trainer.prompt.clone()
    with torch.no_grad():
        alone = [trainer.objectives[0].loss(start, False, [i], True)[1] for i in chosen]
    for name in ("benign_divergence", "harmless_divergence"):
        values = [figures[name].item() for figures in alone if name in figures]
        assert records[0][name] == pytest.approx(sum(values) / len(values), rel=1e-3, abs=1e-6)


def test_a_multiplier_moves_after_a_step_that_was_weighted_by_it(make: Callable[..., Trainer]) -> None:
    trainer = make(keep=1e-9, keep_lookalikes=1e3, batch_size=16)
    first = trainer.step(0)
    assert (first["benign_multiplier"], first["harmless_multiplier"]) == (1.0, 1.0)
    assert trainer.objectives[0].multipliers["benign"].value > 1 > trainer.objectives[0].multipliers["harmless"].value


def test_a_tighter_bound_keeps_answers_nearer_to_the_undefended_ones(make: Callable[..., Trainer]) -> None:
    ended = []
    for bound in (1e-4, 1e3):
        trainer = make(keep=bound, step_size=0.1, cosine_decay=False)
        for step in range(4):
            trainer.step(step)
        ended.append(trainer.validation_record()["harmless_divergence"])
    assert ended[0] < ended[1]


def test_resuming_gives_bit_identical_results_with_multipliers_and_front(
    make: Callable[..., Trainer], tmp_path: Path
) -> None:
    whole = make()
    expected = whole.run(tmp_path / "whole", quiet=True)

    def kill(record: dict[str, object]) -> None:
        if record["step"] == 3:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        make().run(tmp_path / "cut", quiet=True, report=kill)
    again = make()
    assert resume(again, tmp_path / "cut") == 2
    assert again.objectives[0].multipliers["benign"].value != 1.0
    found = again.run(tmp_path / "cut", quiet=True)
    assert torch.equal(found.pixels, expected.pixels)
    assert again.objectives[0].multipliers == whole.objectives[0].multipliers
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")
    for (record, pixels), (other, others) in zip(again.front.points, whole.front.points, strict=True):
        assert record == other and torch.equal(pixels, others)


VALIDATED: list[tuple[dict[str, Any], float]] = [
    ({"refused": 0.9, "kept": 1.0, "benign_divergence": 0.01, "harmless_divergence": 0.01}, 1),
    ({"refused": 1.0, "kept": 1.0, "benign_divergence": 0.01, "harmless_divergence": 0.09}, 2),
    ({"refused": 0.95, "kept": 0.5, "benign_divergence": 0.02, "harmless_divergence": 0.02}, 3),
    ({"refused": 0.8, "kept": 1.0, "benign_divergence": 0.0, "harmless_divergence": 0.0}, 4),
]


@pytest.mark.parametrize(("keep", "best"), [(0.02, 3), (0.1, 2), (0.009, 4), (None, 2)])
def test_the_safest_prompt_within_the_bounds_is_kept(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch, keep: float | None, best: int
) -> None:
    trainer = make(keep=keep)
    for record, done in VALIDATED:
        full = {**record, "quality": record["refused"] + record["kept"]}
        monkeypatch.setattr(trainer, "validation_record", lambda full=full: full)
        trainer.validate(int(done))
    assert trainer.best_record["step"] == best


def test_without_constraints_nothing_is_said_of_them(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: Sets
) -> None:
    config = TrainConfig.model_validate(QUICK)
    trainer = Trainer(make_objectives([(model, vector)], config, queries[0][::4], queries[1][::2], quiet=True))
    record = trainer.step(0)
    assert not any("multiplier" in name or "divergence" in name for name in record)
    assert not any("divergence" in name for name in trainer.validation_record())


def test_harmless_queries_that_look_harmful_are_told_by_mark_or_group(queries: Sets) -> None:
    query = next(q for q in queries[0] if q.group == "benign/sd")
    assert not is_lookalike(query)
    assert not is_lookalike(replace(query, metadata={MARK: "false"}))
    assert is_lookalike(replace(query, metadata={MARK: "True"}))
    assert is_lookalike(replace(query, group="twin/sd"))
    assert not is_lookalike(replace(query, malicious=True, metadata={MARK: "True"}))


def test_look_alikes_of_a_file_of_their_own_are_divided_and_marked(queries: Sets) -> None:
    training, validation = queries
    benign = [replace(q, id=str(i)) for i, q in enumerate(training) if q.group == "benign/sd"]
    more, checks = with_lookalikes(training, validation, benign, 0.25, seed=0)
    new, held_out = more[len(training) :], checks[len(validation) :]
    assert (len(new), len(held_out)) == (3, 1)
    assert all(map(is_lookalike, [*new, *held_out]))
    assert len({q.id for q in [*more, *checks]}) == len(more) + len(checks)
    malicious = [q for q in training if q.malicious]
    with pytest.raises(InputError, match="look-alikes are harmless"):
        with_lookalikes(training, validation, malicious, 0.25, seed=0)
