"""What results say of the command that made them."""

from __future__ import annotations

import re
import shlex

from davsp.util.provenance import Provenance, reads, running


def test_from_python_there_is_no_command_and_nothing_piles_up() -> None:
    reads("a.jsonl")
    made = Provenance.now()
    assert (made.command, made.sources) == (None, ())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", made.date)


def test_a_command_is_told_so_that_it_can_be_typed_again() -> None:
    with running(["train", "--data", "my data.jsonl"]):
        assert shlex.split(Provenance.now().command or "") == ["davsp", "train", "--data", "my data.jsonl"]


def test_sources_are_those_of_this_command_each_once_and_end_with_it() -> None:
    with running(["train"]):
        for source in ("a", "b", "a"):
            reads(source)
        assert Provenance.now().sources == ("a", "b")
    assert (Provenance.now().command, Provenance.now().sources) == (None, ())
