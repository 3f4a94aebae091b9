"""`davsp show`: every folder that a command wrote is told for what it is, and what made it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from davsp.cli.show import describe
from davsp.defences.stored import BaseModelFacts
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.drawing.draw import draw_queries
from davsp.errors import ArtefactError, InputError
from davsp.models.base import VisionLanguageModel
from davsp.prompts.layouts import BorderLayout
from davsp.prompts.visual import VisualPrompt
from davsp.training.vector import HarmfulnessVector
from tests.command_line import run
from tests.evaluations import FOUR, SAFETY, R, verdicts, write_evaluation

BY_DAVSP = Path(__file__).parents[2] / "src/davsp/testbed/checkpoints/llava"


@pytest.fixture
def prompt(model: VisionLanguageModel, tmp_path: Path) -> Path:
    layout = BorderLayout(112, 112, border=14)
    pixels = torch.zeros(3, 112, 112)
    made = VisualSafetyPrompt("mine", VisualPrompt(layout, pixels), "be careful .", base_model=BaseModelFacts.of(model))
    made.save(tmp_path / "prompt")
    return tmp_path / "prompt"


def test_a_prompt_is_told_in_lines_and_as_json(
    prompt: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(monkeypatch, capsys, "show", prompt)
    assert status == 0 and len(out.splitlines()) <= 15
    assert out.startswith("folder       a visual safety prompt\nname         mine\n")
    told = json.loads(run(monkeypatch, capsys, "show", prompt, "--json")[1])
    assert told["image"] == "border of 14 pixels, on 112 x 112 pixels" and told["prefix"] == "be careful ."
    assert told["made for"].startswith("testbed (llava, weights ") and told["computed on"].startswith("cpu, float32, ")
    assert "aligned" not in told, "it was not trained"


def test_weights_that_are_not_those_that_were_saved_are_told(prompt: Path) -> None:
    assert describe(prompt)["weights"].startswith("model.safetensors, SHA-256 ")
    (prompt / "model.safetensors").write_bytes(b"other")
    assert "WARNING" in describe(prompt)["weights"]
    (prompt / "model.safetensors").unlink()
    assert "is not there" in describe(prompt)["weights"]


def test_a_fitted_baseline_tells_by_what_it_was_fitted_and_with_which_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, capsys, "fit", "esiii", "--set", "steps=1", "--out", tmp_path / "esiii")[0] == 0
    told = describe(tmp_path / "esiii")
    assert told["folder"] == "a defence fitted by esiii" and told["options"] == "steps 1, batch_size 1, seed 0"
    assert told["made"].endswith(f"by: davsp fit esiii --set steps=1 --out {tmp_path / 'esiii'}")


def test_a_vector_tells_its_layer_and_how_it_separates(vector: HarmfulnessVector, tmp_path: Path) -> None:
    vector.save(tmp_path)
    told = describe(tmp_path)
    assert told["folder"] == "a harmfulness vector" and told["layer"] == f"{vector.layer} of 6"
    assert told["separates"].startswith(f"AUROC {vector.at().auroc:.3f}, d ")
    assert "malicious" in told["queries"] and told["direction"] == "mean of images"


def test_an_evaluation_tells_every_defence_with_intervals(tmp_path: Path) -> None:
    behind = {"none": verdicts(SAFETY, 0.2, 0), "mine": [R] * 50}
    write_evaluation(tmp_path / "a", SAFETY, behind)
    told = describe(tmp_path / "a")
    assert told["behind mine"] == "rsr 100.0 % [92.9, 100.0] n=50"
    assert told["model"].startswith("some/model") and told["queries"].startswith("50, ")
    write_evaluation(tmp_path / "b", FOUR, {"none": [R] * 4})
    assert describe(tmp_path)["folders"] == "a, b"


def test_drawn_queries_tell_their_splits_and_seed(tmp_path: Path) -> None:
    draw_queries(kinds=["counting"], per_kind=10, side=96, seed=1, progress=False).save(tmp_path / "drawn")
    told = describe(tmp_path / "drawn")
    assert told["folder"] == "drawn queries" and told["kinds"] == "counting" and told["seed"] == "1"
    assert "train " in told["queries"] and "pillow" in told["computed on"]


def test_a_run_that_stopped_tells_how_far_it_came(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "rate": 0.1}\n{"step": 1, "validation": {"quality": 1.5}}\n')
    told = describe(tmp_path)
    assert "not finished" in told["folder"] and (told["steps"], told["last checked"]) == ("1", "quality 1.5")


def test_a_folder_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    for folder, told in ((tmp_path, "is no folder that davsp wrote"), (BY_DAVSP, "give it as --model")):
        with pytest.raises(InputError, match=told):
            describe(folder)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="is not of davsp"):
        describe(tmp_path)


def test_what_is_no_folder_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(monkeypatch, capsys, "show", "nowhere")
    assert status == 2 and "nowhere is no folder" in err


@pytest.mark.parametrize("name", ["config.json", "vector.json", "draw.json", "card.json", "results.json"])
@pytest.mark.parametrize("content", ["{", "[]", "3", '{"base_model": 3}', "\ud800"])
def test_a_damaged_file_is_told(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises((ArtefactError, InputError)):
        describe(tmp_path)
    shutil.rmtree(tmp_path)
