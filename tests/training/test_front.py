"""The front holds every validated prompt that no other beats, and any of it can be picked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from davsp.data.query import Query
from davsp.defences.picking import pick
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt, train_prompt
from davsp.errors import ArtefactError, InputError
from davsp.models.base import VisionLanguageModel
from davsp.training.config import TrainConfig
from davsp.training.front import Front
from davsp.training.run_state import read_metrics
from davsp.training.vector import HarmfulnessVector
from tests.command_line import run as command

Sets = tuple[list[Query], list[Query]]


def front_of(*points: tuple[float, float, float]) -> list[int]:
    front = Front()
    for step, (refused, kept, over) in enumerate(points, start=1):
        record = {"step": float(step), "refused": refused, "kept": kept, "over_refusal": over}
        front.add(record, torch.zeros(1))
    return [int(record["step"]) for record, _ in front.points]


def test_what_is_beaten_in_everything_is_dropped_and_what_is_best_in_something_stays() -> None:
    assert front_of((0.9, 0.9, 0.1), (0.9, 0.9, 0.0)) == [2]
    assert front_of((0.9, 0.9, 0.0), (0.9, 0.9, 0.1)) == [1]
    assert front_of((0.9, 0.9, 0.1), (1.0, 0.9, 0.2), (0.9, 0.8, 0.0)) == [1, 2, 3]
    assert front_of((0.9, 0.9, 0.1), (0.9, 0.9, 0.1)) == [2], "of equals the later"


def test_figures_of_several_models_count_by_their_means() -> None:
    front = Front()
    for step, (one, two) in enumerate([(0.8, 1.0), (1.0, 0.7)], start=1):
        front.add({"step": step, "refused_1": one, "refused_2": two, "kept_1": 1.0, "kept_2": 1.0}, torch.zeros(1))
    assert [record["step"] for record, _ in front.points] == [1]


@pytest.fixture(scope="module")
def run(
    model: VisionLanguageModel,
    vector: HarmfulnessVector,
    queries: Sets,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A finished training, each of whose validated prompts is on its front."""
    folder = tmp_path_factory.mktemp("run")
    config = TrainConfig(steps=3, validate_every=1, validation_answers=2, batch_size=4)
    with pytest.MonkeyPatch.context() as patched:
        from davsp.training.trainer import Trainer

        patched.setattr(Trainer, "validation_record", _trading)
        train_prompt([(model, vector)], config, *queries, folder, quiet=True)
    return folder


def _trading(trainer: object) -> dict[str, float]:
    """Each prompt is safer than that before it, and over-refuses more."""
    done = trainer.optimizer.done  # type: ignore[attr-defined]
    return {"refused": done / 4, "kept": 1.0, "over_refusal": done / 10, "quality": 1 + done / 4}


def test_another_point_of_the_front_becomes_the_prompt_and_back(run: Path) -> None:
    best = VisualSafetyPrompt.load(run)
    assert best.training is not None and best.training.metrics["step"] == 3
    picked = pick(run, 1)
    found = VisualSafetyPrompt.load(run)
    assert found.visual is not None and best.visual is not None and picked.visual is not None
    assert found.training is not None and found.training.metrics["over_refusal"] == 0.1
    assert torch.equal(found.visual.pixels, picked.visual.pixels)
    assert not torch.equal(found.visual.pixels, best.visual.pixels)
    pick(run, 3)
    again = VisualSafetyPrompt.load(run)
    assert again.visual is not None and torch.equal(again.visual.pixels, best.visual.pixels)
    assert len(read_metrics(run)) == 7, "nothing was trained"


def test_the_command_line_picks_and_trains_nothing(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, printed, said = command(monkeypatch, capsys, "train", "--pick", 2, "--out", run)
    assert (status, printed) == (0, f"{run}\n")
    assert "the prompt after step 2 (step 2, refused 0.5, kept 1, over_refusal 0.2" in said
    status, _, said = command(monkeypatch, capsys, "train", "--pick", 2, "--set", "steps=9", "--out", run)
    assert status != 0 and "give it with --out alone" in said


def test_a_step_that_is_not_on_the_front_is_refused_by_name_of_those_that_are(run: Path) -> None:
    with pytest.raises(InputError, match=r"no prompt of step 9 to pick\. Choose from 1, 2, 3"):
        pick(run, 9)


def test_a_folder_without_its_training_or_with_anothers_is_refused(run: Path, tmp_path: Path) -> None:
    prompt = VisualSafetyPrompt.load(run)
    prompt.save(tmp_path)
    with pytest.raises(ArtefactError, match="holds no training to pick from"):
        pick(tmp_path, 1)
    state = (run / "state.pt").read_bytes()
    (tmp_path / "state.pt").write_bytes(state[:200])
    with pytest.raises(ArtefactError, match="is damaged"):
        pick(tmp_path, 1)
    saved = torch.load(run / "state.pt", weights_only=True)
    saved["identity"]["data"][0]["training_benign"] = "another"
    torch.save(saved, tmp_path / "state.pt")
    with pytest.raises(ArtefactError, match="of another training"):
        pick(tmp_path, 1)
