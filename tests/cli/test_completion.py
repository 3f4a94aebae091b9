"""What the shell completes, and the order in which --help shows the commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer import Context
from typer.main import get_command

from davsp.cli import app, completion
from davsp.defences import DEFENCES
from davsp.defences.base import NoOptions
from davsp.reproduction import TABLES
from tests.command_line import run


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("runs/prompt", "runs/vector", "preface", ".hidden"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "prefix.txt").write_text("no folder")
    monkeypatch.chdir(tmp_path)


def test_defences_are_completed_by_name_and_by_folder(tmp_path: Path) -> None:
    assert completion.defences("pre") == ["prefix", "preface/"]
    assert completion.defences("runs/") == ["runs/prompt/", "runs/vector/"]
    assert completion.defences(f"{tmp_path}/runs/p") == [f"{tmp_path}/runs/prompt/"]
    assert ".hidden/" not in completion.defences("") and completion.defences(".h") == [".hidden/"]
    assert completion.defences("nowhere/") == []


def test_models_are_completed_by_name_and_by_folder() -> None:
    assert completion.models("testbed-q") == ["testbed-qwen2vl"]
    assert "runs/" in completion.models("")


def test_benchmarks_are_completed_by_name_and_the_folders_after_it() -> None:
    assert completion.benchmarks("mm_") == ["mm_safetybench", "mm_vet"]
    assert completion.benchmarks("mme=ru") == ["mme=runs/"]


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("evaluate --defence pref", ["prefix", "preface/"]),
        ("train --model testbed-q", ["testbed-qwen2vl"]),
        ("fit adashield-", ["adashield-a"]),
        ("benchmark export mme=ru", ["mme=runs/"]),
    ],
)
def test_the_shell_gets_them(typed: str, completed: list[str]) -> None:
    words = ["davsp", *typed.split()]
    asked = {"_DAVSP_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    code = "from davsp.cli import app; app(prog_name='davsp')"
    said = subprocess.run([sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True)
    assert said.stdout.split() == completed, said.stderr


@pytest.mark.parametrize(
    ("command", "name", "complete"),
    [
        ("train", "models", completion.models),
        ("train", "benchmarks", completion.benchmarks),
        ("vector", "benchmarks", completion.benchmarks),
        ("fit", "name", completion.fitted),
        ("reproduce", "table", completion.tables),
        ("reproduce", "names", completion.defences),
        ("benchmark show", "name", completion.benchmark_names),
        ("benchmark score", "name", completion.benchmark_names),
    ],
)
def test_names_are_completed_wherever_they_are_typed(
    command: str, name: str, complete: Callable[[str], list[str]]
) -> None:
    found: Any = get_command(app)
    for word in command.split():
        found = found.commands[word]
    [parameter] = [parameter for parameter in found.params if parameter.name == name]
    given = [item.value for item in parameter.shell_complete(Context(found), "")]
    assert given == complete("") and given


def test_what_is_completed_without_imports_is_what_there_is() -> None:
    assert list(completion.FITTED) == sorted(k for k in DEFENCES.names() if DEFENCES.get(k).FitOptions is not NoOptions)
    assert list(completion.TABLES) == list(TABLES)


def test_help_shows_the_commands_in_the_order_of_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = run(monkeypatch, capsys, "--help")[1]
    assert re.findall(r"─ (\w+) ─", shown) == ["Options", "Train", "Measure", "Use", "Compare", "Testbed"]
