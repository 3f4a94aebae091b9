"""What other packages add through entry points: found by name, imported late, refused by name when unusable."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from davsp.errors import InputError
from davsp.util.registry import Registry

GROUP = "davsp.test_things"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    return Install(tmp_path, monkeypatch)


class Install:
    """Puts packages on the path as pip leaves them: a module, and what its metadata says of entry points."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch

    def __call__(self, package: str, code: str, **points: str) -> None:
        place = self.folder / package
        facts = place / f"{package}-1.0.dist-info"
        facts.mkdir(parents=True)
        (place / f"{package}.py").write_text(code)
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "".join(f"{name.replace('_', '-')} = {value}\n" for name, value in points.items())
        (facts / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}")
        self.monkeypatch.syspath_prepend(place)
        self.monkeypatch.delitem(sys.modules, package, raising=False)


def test_what_packages_add_is_found_by_name_in_alphabetical_order(install: Install) -> None:
    install("quilts", "PATCHED = 'a quilt'", patched="quilts:PATCHED")
    install("carpets", "WOVEN = 'a carpet'", woven="carpets:WOVEN", even_finer="carpets:WOVEN")
    things = Registry(GROUP, "thing", str)
    assert things.names() == ["even-finer", "patched", "woven"]
    assert (things.get("patched"), things.get("woven")) == ("a quilt", "a carpet")
    assert "woven" in things and "knitted" not in things


def test_nothing_is_imported_before_it_is_asked_for(install: Install) -> None:
    install("quilts", "PATCHED = 'a quilt'", patched="quilts:PATCHED")
    things = Registry(GROUP, "thing", str)
    assert things.names() == ["patched"] and "patched" in things
    assert "quilts" not in sys.modules
    things.get("patched")
    assert "quilts" in sys.modules


def test_an_unknown_name_is_refused_with_those_there_are(install: Install) -> None:
    install("quilts", "PATCHED = PLAIN = 'a quilt'", patched="quilts:PATCHED", plain="quilts:PLAIN")
    with pytest.raises(InputError, match=r"there is no thing 'knitted'\. Choose from patched, plain\."):
        Registry(GROUP, "thing", str).get("knitted")


def test_a_name_that_two_packages_claim_is_refused_with_both(install: Install) -> None:
    install("quilts", "PATCHED = 'a quilt'", patched="quilts:PATCHED", plain="quilts:PATCHED")
    install("carpets", "PATCHED = 'a carpet'", patched="carpets:PATCHED")
    things = Registry(GROUP, "thing", str)
    with pytest.raises(InputError, match=r"the thing 'patched' is claimed by carpets and quilts: uninstall one"):
        things.get("patched")
    assert things.get("plain") == "a quilt", "the others can still be used"


def test_one_member_that_is_installed_twice_is_one(install: Install) -> None:
    install("quilts", "PATCHED = 'a quilt'", patched="quilts:PATCHED")
    install("same_quilts", "", patched="quilts:PATCHED")
    assert Registry(GROUP, "thing", str).get("patched") == "a quilt"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_module_anywhere", "no_such_module_anywhere"),
        ("raise ImportError('needs a newer loom')", "needs a newer loom"),
        ("", "PATCHED"),
        ("PATCHED = 1 / 0", "division by zero"),
        ("this is no Python", "invalid syntax"),
    ],
)
def test_a_package_that_cannot_be_imported_is_named_with_the_reason(install: Install, code: str, said: str) -> None:
    install("quilts", code, patched="quilts:PATCHED")
    with pytest.raises(InputError, match=f"the thing 'patched' of quilts cannot be loaded: .*{said}"):
        Registry(GROUP, "thing", str).get("patched")


def test_a_member_of_the_wrong_type_is_refused_with_what_it_is(install: Install) -> None:
    install("quilts", "PATCHED = 12", patched="quilts:PATCHED")
    with pytest.raises(InputError, match=r"the thing 'patched' of quilts is no str: quilts:PATCHED is 12\."):
        Registry(GROUP, "thing", str).get("patched")
    assert Registry[int](GROUP, "thing").get("patched") == 12, "without a base, nothing is checked"


def test_a_group_to_which_nobody_adds_is_empty() -> None:
    assert Registry("davsp.nobody_adds_to_this", "thing").names() == []
