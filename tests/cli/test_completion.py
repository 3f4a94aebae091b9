"""What the shell completes, and the order in which --help shows the commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from davsp.cli import completion
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


def test_the_shell_gets_them() -> None:
    words = {"_DAVSP_COMPLETE": "complete_bash", "COMP_WORDS": "davsp evaluate --defence pref", "COMP_CWORD": "3"}
    code = "from davsp.cli import app; app(prog_name='davsp')"
    said = subprocess.run([sys.executable, "-c", code], env=os.environ | words, capture_output=True, text=True)
    assert said.stdout.split() == ["prefix", "preface/"], said.stderr


def test_help_shows_the_commands_in_the_order_of_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = run(monkeypatch, capsys, "--help")[1]
    assert re.findall(r"─ (\w+) ─", shown) == ["Options", "Train", "Measure", "Use", "Compare", "Testbed"]
