"""Defences by name, and from the folders in which they were saved."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from davsp.data.query import Query
from davsp.defences import DEFENCES, check_served, fitted_kind, load_defence
from davsp.defences.base import Defence
from davsp.defences.eta import Eta
from davsp.defences.stored import BaseModelFacts
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.errors import InputError
from davsp.models.base import VisionLanguageModel
from davsp.prompts.text import SAFETY_PREFIX, with_prefix

RED = Image.new("RGB", (40, 30), "red")


def test_every_registered_defence_is_of_the_kind_it_is_registered_under() -> None:
    kinds = [DEFENCES.get(name) for name in DEFENCES.names()]
    assert [defence.kind for defence in kinds] == DEFENCES.names()
    assert all(issubclass(defence, Defence) for defence in kinds)


def test_names_are_listed_without_importing_torch() -> None:
    code = "import sys; from davsp.defences import DEFENCES as d; print(*d.names()); assert 'torch' not in sys.modules"
    listed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    named = {"none", "prefix", "adashield-a", "adashield-s", "ecso", "esiii", "eta", "pat", "transcribe", "uniguard"}
    assert named < set(listed)


def test_those_without_a_folder_are_known_by_name() -> None:
    query = Query("q", RED, "what ?")
    undefended, prefix, ecso = load_defence("none"), load_defence("prefix"), load_defence("ecso")
    assert undefended.preview(query).question == "what ?"
    assert prefix.preview(query).question == with_prefix("what ?", SAFETY_PREFIX)
    assert (undefended.name, prefix.name, ecso.name) == ("none", "prefix", "ecso")
    assert not any(defence.model_specific for defence in (undefended, prefix, ecso))


def test_a_visual_safety_prompt_is_loaded_by_the_same_function(model: VisionLanguageModel, tmp_path: Path) -> None:
    VisualSafetyPrompt("mine", None, "be careful .", base_model=BaseModelFacts.of(model)).save(tmp_path)
    assert "kind" not in json.loads((tmp_path / "config.json").read_text())
    assert isinstance(load_defence(tmp_path), VisualSafetyPrompt)


def test_a_visual_safety_prompt_may_say_its_kind(model: VisionLanguageModel, tmp_path: Path) -> None:
    VisualSafetyPrompt("mine", None, "be careful .", base_model=BaseModelFacts.of(model)).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({"kind": "visual-safety-prompt"} | config))
    assert isinstance(load_defence(tmp_path), VisualSafetyPrompt)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere", r"there is no defence 'nowhere': .*adashield-s, alarm, ecso, "),
        ("pat", "defence pat: a name is not enough for it"),
        ("visual-safety-prompt", "give the folder that `davsp train`"),
        ("eta", "'reward': Field required"),
        ("eta:rewards=x", "Field required"),
        ("adashield-s:order=last", "'order'"),
        ("ecso:x=1", "defence ecso: it has no options"),
        ("prefix:x", "defence prefix: it has no options"),
    ],
)
def test_a_bad_name_or_option_is_told(name: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        load_defence(name)


@pytest.mark.parametrize("name", ["ecso", "none", "visual-safety-prompt", "nowhere"])
def test_what_is_not_fitted_names_what_is(name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' is no defence.*adashield-a, alarm, esiii, gate, pat, uniguard"):
        fitted_kind(name)
    assert fitted_kind("pat").kind == "pat"


def test_one_that_begins_answers_is_refused_for_a_server() -> None:
    begins = Eta(None, None, None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="eta needs a model that goes on from a begun answer"):
        check_served(begins)
    check_served(load_defence("none"))
