"""What results say of the command that made them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest

from davsp.util import provenance
from davsp.util.provenance import Provenance, begin_command, reads


@pytest.fixture(autouse=True)
def _own_command(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(provenance, "_command", provenance._Command())
    yield


def test_from_python_there_is_no_command_and_nothing_piles_up() -> None:
    reads("a.jsonl")
    made = Provenance.now()
    assert (made.command, made.sources) == (None, ())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", made.date)


def test_a_command_is_told_so_that_it_can_be_typed_again() -> None:
    begin_command(["train", "--data", "my data.jsonl"])
    assert shlex.split(Provenance.now().command or "") == ["davsp", "train", "--data", "my data.jsonl"]


def test_sources_are_those_of_this_command_each_once() -> None:
    begin_command(["train"])
    for source in ("a", "b", "a"):
        reads(source)
    assert Provenance.now().sources == ("a", "b")
    begin_command(["evaluate"])
    assert Provenance.now().sources == ()
