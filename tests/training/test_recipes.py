"""Recipes: whole training runs in a file, for the paper's two models and for any checkpoint of their class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from davsp.cli import app
from davsp.errors import InputError
from davsp.training.config import PAPER, Sampling, Start, TrainConfig, read_config
from davsp.training.optim import Method
from davsp.training.recipes import TrainingRecipe, read_recipe
from tests.tiny import save_tiny

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.yaml")), ids=lambda f: f.stem)
def test_every_recipe_is_sound(file: Path) -> None:
    recipe = read_recipe(file)
    config = read_config(recipe.train, paper=recipe.paper)
    assert recipe.paper is file.stem.endswith("-paper")
    assert config.clamp is not recipe.paper


def test_the_papers_recipe_is_the_papers() -> None:
    recipe = read_recipe(RECIPES / "llava15-13b-paper.yaml")
    config = read_config(recipe.train, paper=recipe.paper)
    assert (config.tau_plus, config.tau_minus, config.layer, config.width) == (27, -2, 20, 30)
    assert (config.batch_size, config.steps, config.sampling) == (2, 1200, Sampling.COIN)
    assert (config.method, config.step_size, config.cosine_decay) == (Method.SIGN, 1 / 255, False)
    assert (config.answer_weight, config.refusal_share, config.alignment_weight) == (0.02, 0.05, 1.0)
    assert (config.start, config.clamp) == (Start.MEAN, False)


@pytest.mark.parametrize(
    ("content", "named"),
    [("model: a", "data"), ("model: a\ndata: b\nstepz: 3", "stepz"), ("- a", "content"), ("a: [", "cannot read")],
)
def test_a_bad_recipe_is_a_clear_error(tmp_path: Path, content: str, named: str) -> None:
    (tmp_path / "r.yaml").write_text(content)
    with pytest.raises(InputError, match=named):
        read_recipe(tmp_path / "r.yaml")


UNREADABLE = {
    "nested": "[" * 1000,
    "nested mappings": "{a: " * 1000,
    "digits": "9" * 5000,
    "many bits": "0x" + "f" * 6000,
    "large": "9" * 40,
    "no date": "2024-13-45",
    "no number": "!!int foo",
    "empty number": "!!int ''",
    "no time": "!!timestamp foo",
    "no alias": "*a",
    "itself": "&a [*a]",
    "code": "!!python/object:os.system x",
    "control": "\x00",
    "infinite": ".inf",
    "nan": ".nan",
}


@pytest.mark.parametrize("value", UNREADABLE.values(), ids=UNREADABLE.keys())
@pytest.mark.parametrize("option", ["steps", "step_size", "seed", "layer"])
def test_a_value_that_cannot_be_read_is_one_short_line(tmp_path: Path, option: str, value: str) -> None:
    with pytest.raises(InputError, match=option) as assigned:
        read_config(assignments=[f"{option}={value}"])
    file = tmp_path / "r.yaml"
    file.write_text(f"model: a\ndata: b\ntrain:\n  {option}: {value}")
    with pytest.raises(InputError, match=rf"{option}|cannot read the recipe .*r\.yaml") as read:
        read_config(read_recipe(file).train)
    for caught in (assigned, read):
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 800


def test_weights_and_thresholds_are_finite() -> None:
    for option in ("alignment_weight", "answer_weight", "tau_plus", "margin"):
        with pytest.raises(InputError, match=f"option '{option}': Input should be a finite number"):
            read_config(assignments=[f"{option}=.inf"])


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    records = []
    for i in range(20):
        Image.fromarray(rng.integers(0, 256, (40 + i, 60, 3)).astype(np.uint8)).save(tmp_path / f"{i}.png")
        record = {"id": str(i), "image": f"{i}.png", "question": "count the shapes .", "malicious": i % 2 == 1}
        records.append(record | ({} if i % 2 else {"answer": "one"}))
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return tmp_path / "q.jsonl"


@pytest.mark.parametrize(
    ("recipe", "family", "mode"),
    [
        ("llava15-13b-paper", "llava", "border"),
        ("llava15-13b-ours", "llava", "border"),
        ("qwen2vl-7b-paper", "qwen2_vl", "border"),
        ("qwen2vl-7b-ours", "qwen2_vl", "frame"),
    ],
)
def test_a_dry_run_of_a_recipe_works_offline_on_a_tiny_checkpoint(
    recipe: str, family: str, mode: str, queries: Path, tmp_path: Path
) -> None:
    tiny = save_tiny(family, tmp_path / "tiny")
    width = {"llava": 7, "qwen2_vl": 8}[family]
    found = CliRunner().invoke(
        app,
        ["train", "--recipe", str(RECIPES / f"{recipe}.yaml"), "--model", str(tiny), "--data", str(queries),
         "--out", str(tmp_path / "run"), "--dry-run", "--dtype", "float32",
         "--set", f"width={width}", "--set", "layer=2"],
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    assert not (tmp_path / "run").exists()
    told = json.loads(found.stdout)
    assert (told["config"]["mode"] or "border", told["models"][0]["layer"]) == (mode, 2)


def test_a_former_name_of_an_option_still_counts_in_a_recipe_and_in_an_assignment() -> None:
    assert read_config({"falling": False}).cosine_decay is False
    assert read_config({"falling": True}, paper=True).cosine_decay is True
    assert read_config({"cosine_decay": True}, ["falling=false"]).cosine_decay is False
    assert "falling" not in read_config({"falling": False}).model_dump()


def test_every_training_option_is_printed_with_its_default_and_the_papers() -> None:
    printed = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["train", "--options"])
    assert printed.exit_code == 0, "without --out or anything else"
    words = printed.stdout.split()
    assert set(TrainConfig.model_fields) | set(TrainingRecipe.model_fields) <= set(words)
    assert "default: 60; the paper's: 1200" in printed.stdout
    assert "default: true; the paper's: false" in printed.stdout
    assert PAPER.keys() <= TrainConfig.model_fields.keys()
    assert printed.stdout.count("; the paper's: ") == len(PAPER)


def test_an_option_can_be_set_to_an_empty_text() -> None:
    assert read_config(assignments=["prefix="]).prefix == ""
    assert read_config(assignments=["prefix=''"]).prefix == ""
