"""The GPU check itself, on a CPU: what it covers, and that what fails stops nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from davsp.cli import app
from davsp.models.loading import FAMILIES
from tests.gpu import commands, families
from tests.gpu.__main__ import CHECKS, main
from tests.gpu.checking import OUTCOMES, Check, NotApplicableError, Outcome, read_outcomes, run_check


def with_a_device(command: Any, words: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """The commands, each by its words, that have the option --device."""
    if hasattr(command, "commands"):
        return set().union(*(with_a_device(below, (*words, name)) for name, below in command.commands.items()))
    return {words} if any("--device" in parameter.opts for parameter in command.params) else set()


def test_every_family_at_every_precision_and_every_command_with_a_device_is_checked() -> None:
    assert set(CHECKS) == {"demo", "commands", *FAMILIES.names()}
    assert [c.name for c in families.checks("llava", "cpu", Path())] == [f"llava {p}" for p in families.PRECISIONS]
    lines = [line.split() for line in commands.COMMANDS.values()]
    named = {c for c in with_a_device(typer.main.get_command(app)) for line in lines if tuple(line[: len(c)]) == c}
    left_out = {("reproduce",), ("serve",), ("ui",)}  # made of the others, and two that do not end
    assert with_a_device(typer.main.get_command(app)) - left_out == named
    for name in named - {("official", "border")}:
        assert any("--device" in line for line in lines if tuple(line[: len(name)]) == name), name
    fitted = {line[1] for line in lines if line[0] == "fit"}
    assert fitted == {"pat", "uniguard", "esiii", "adashield-a", "gate", "alarm"}


def test_what_fails_is_told_in_a_line_and_the_other_stages_are_run() -> None:
    ran = []

    def break_down() -> None:
        raise ValueError("no such thing\nand more of it")

    def leave_out() -> None:
        raise NotApplicableError("there is none")

    check = Check("it", [("first", break_down), ("second", leave_out), ("third", lambda: ran.append(3))])
    outcome = run_check(check)
    assert (outcome.failed, outcome.left_out) == (("first: ValueError: no such thing",), ("second: there is none",))
    assert ran == [3]
    assert "first: ValueError: no such thing (left out: second: there is none)" in outcome.row


def test_a_command_that_fails_is_told_by_its_last_line(tmp_path: Path) -> None:
    check = Check("ask", [("run", lambda: commands.run("ask", commands.COMMANDS["ask"], "cpu", tmp_path))])
    assert "nowhere.png: no such file" in run_check(check).failed[0]


def test_a_process_that_is_lost_names_what_it_was_at(tmp_path: Path) -> None:
    assert read_outcomes(tmp_path, None) == []
    lines = [{"began": "a"}, vars(Outcome("a", 1.0)), {"began": "b"}]
    (tmp_path / OUTCOMES).write_text("\n".join(map(json.dumps, lines)))
    assert read_outcomes(tmp_path, "stopped after 9 s") == [
        Outcome("a", 1.0),
        Outcome("b", 0.0, failed=("stopped after 9 s",)),
    ]


@pytest.mark.slow
def test_the_check_runs_on_a_cpu_and_fails_where_something_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--device", "cpu", "--jobs", "2", "--out", str(tmp_path)]
    assert main([*out, "--only", "llava float32", "--only", "testbed draw"]) == 0
    printed = capsys.readouterr().out
    assert "llava float32" in printed and "davsp testbed draw" in printed
    assert "left out: train frame: its images have one size" in printed
    assert main([*out, "--only", "davsp apply"]) == 1  # of a prompt that was not trained
    printed = capsys.readouterr().out
    assert "Failed: davsp apply" in printed and "holds no defence" in printed and "0 of 1 ok" in printed


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path)]) == 2
    assert "there is no GPU for 'cuda'" in capsys.readouterr().err
