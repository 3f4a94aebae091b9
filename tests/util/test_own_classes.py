"""Classes of a user's own, named by module and class."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from davsp.defences import load_defence
from davsp.defences.base import Defence
from davsp.errors import InputError
from davsp.judges import Criterion, load_judge
from davsp.util.own_classes import divided
from tests.judges.mocks import found_by

MODULE = '''
from davsp.defences.base import RewritingDefence
from davsp.judges.base import Finding, Judge, Criterion

NUMBER = 3

class Bare(RewritingDefence):
    """No kind."""
    identity = "bare"
    def defend(self, query):
        return query

class Unmade(Bare):
    kind = name = "unmade"

class Whole(Bare):
    kind = name = "whole"
    @classmethod
    def from_options(cls, options):
        return cls()

class Abstract(RewritingDefence):
    kind = name = "abstract"

class Nameless(Judge):
    identity = "nameless"
    async def find(self, criterion, question, response):
        return Finding(True)

class Says(Nameless):
    name = "says"
    can_tell = frozenset(Criterion)
'''


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with modules of a user's own, which is not on Python's path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder])
    (tmp_path / "own_parts.py").write_text(MODULE)
    (tmp_path / "own_broken.py").write_text("1 / 0\n")
    (tmp_path / "own_needs.py").write_text("import no_such_module\n")


def test_a_class_in_a_file_of_the_current_folder_is_a_defence_like_any_other() -> None:
    before = list(sys.path)
    defence = load_defence("own_parts:Whole")
    assert isinstance(defence, Defence) and defence.name == "whole"
    assert sys.path == before


def test_a_judge_is_named_in_the_same_way() -> None:
    judge = load_judge("own_parts:Says")
    assert found_by(judge, Criterion.HARM, "x").value is True


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("own_nowhere:Whole", "No module named 'own_nowhere'. There is no own_nowhere.py in "),
        ("own_parts:Missing", "own_parts holds no 'Missing'"),
        (
            "own_parts:NUMBER",
            "'own_parts:NUMBER' is no defence: 3 is no class derived from davsp.defences.base.Defence",
        ),
        ("own_parts:Says", "is no defence: <class 'own_parts.Says'> is no class derived from"),
        ("own_parts:Abstract", "cannot be made: it lacks defend, identity"),
        ("own_parts:Bare", r"has no kind: give the class one, kind = "),
        ("own_parts:Unmade", "a name is not enough for it"),
        ("own_parts:Whole:x=1", "it has no options"),
        ("own_broken:Whole", "ZeroDivisionError: division by zero"),
        ("own_needs:Whole", "No module named 'no_such_module'"),
        ("own_parts:Whole.x", "there is no defence 'own_parts:Whole.x': .*or a class of your own, module:Class"),
    ],
)
def test_what_is_no_defence_is_told(name: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        load_defence(name)
    assert ("own_nowhere.py" in str(caught.value)) == (name == "own_nowhere:Whole")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("own_parts:Whole", "'own_parts:Whole' is no judge"),
        ("own_parts:Nameless", "does not say its `name` and what it `can_tell`"),
        ("own_parts:Says:x=1", "there is no judge 'own_parts:Says:x=1'"),
    ],
)
def test_what_is_no_judge_is_told(name: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        load_judge(name)


@pytest.mark.parametrize("text", ["eta", "eta:reward=x", "a/b:C", "a:b/c", "1a:C", "", ":", "http://x:8/v1"])
def test_what_names_no_class_is_left_alone(text: str) -> None:
    assert divided(text) is None
