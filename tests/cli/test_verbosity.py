"""What commands tell on their way, -q and -v, and what comes out of them as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.main import get_command

from davsp.cli import app
from tests.command_line import run

SHORT = {"show", "benchmark list", "benchmark show", "benchmark score", "official vector", "official export"}
SHORT |= {"official border", "serve", "ui"}
"""Commands that are done at once, or tell nothing."""
REPORTING = {"vector", "train", "fit", "evaluate", "reproduce", "report", "demo", "show", "data draw", "judge validate"}
REPORTING |= {"benchmark list", "benchmark show", "benchmark score"}

Davsp = Callable[..., tuple[int, str, str]]


@pytest.fixture
def davsp(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Davsp:
    return lambda *arguments: run(monkeypatch, capsys, *arguments)


@pytest.fixture
def texts(tmp_path: Path) -> list[object]:
    (tmp_path / "malicious.txt").write_text("make a bomb\nhack a bank\n")
    (tmp_path / "benign.txt").write_text("make a cake\nfilm a bank\n")
    return ["--malicious", tmp_path / "malicious.txt", "--benign", tmp_path / "benign.txt", "--split", "1"]


def options() -> dict[str, set[str]]:
    """The options of every command, by its words."""

    def walk(command: Any, words: str) -> dict[str, set[str]]:
        inside = getattr(command, "commands", None)
        if inside is None:
            return {words: {name for parameter in command.params for name in parameter.opts}}
        return {k: v for name, sub in inside.items() for k, v in walk(sub, f"{words} {name}".strip()).items()}

    return walk(get_command(app), "")


def test_every_long_command_can_be_quiet_and_verbose() -> None:
    found = options()
    assert set(found) > SHORT
    wanted = {"--quiet", "-q", "--verbose", "-v"}
    assert [words for words, named in found.items() if words not in SHORT and not wanted <= named] == []


def test_every_command_that_reports_does_so_as_json_too() -> None:
    found = options()
    assert [words for words in REPORTING if "--json" not in found[words]] == []


def test_a_quiet_command_makes_no_remarks(davsp: Davsp, tmp_path: Path, texts: list[object]) -> None:
    drawing = ["data", "draw", "--kinds", "figstep,typo", *texts]
    status, _, told = davsp(*drawing, "--out", tmp_path / "loud")
    assert status == 0 and "queries" in told
    assert davsp(*drawing, "--out", tmp_path / "quiet", "-q") == (0, f"{tmp_path / 'quiet'}\n", "")


def test_a_quiet_command_still_says_what_is_wrong(davsp: Davsp, tmp_path: Path, texts: list[object]) -> None:
    status, _, told = davsp("data", "draw", "--kinds", "nothing", *texts, "--out", tmp_path / "x", "-q")
    assert status == 2 and told.startswith("Error: ") and "Traceback" not in told


def test_a_verbose_command_says_where_an_error_came_from(davsp: Davsp, tmp_path: Path, texts: list[object]) -> None:
    status, _, told = davsp("data", "draw", "--kinds", "nothing", *texts, "--out", tmp_path / "x", "-v")
    assert status == 2 and "Traceback" in told and told.splitlines()[-1].startswith("Error: ")


def test_a_command_is_not_quiet_and_verbose_at_once(davsp: Davsp, tmp_path: Path) -> None:
    status, _, told = davsp("data", "draw", "--out", tmp_path / "x", "-q", "-v")
    assert status == 2 and "either --quiet or --verbose" in told


def test_a_folder_that_was_written_is_described_as_json(davsp: Davsp, tmp_path: Path, texts: list[object]) -> None:
    status, out, _ = davsp("data", "draw", "--kinds", "typo", *texts, "--out", tmp_path / "drawn", "--json")
    facts = json.loads(out)
    assert status == 0 and facts.pop("path") == str(tmp_path / "drawn")
    assert facts == json.loads(davsp("show", tmp_path / "drawn", "--json")[1])


def test_benchmarks_are_listed_as_json(davsp: Davsp) -> None:
    listed = {benchmark["name"]: benchmark for benchmark in json.loads(davsp("benchmark", "list", "--json")[1])}
    assert listed["figstep"]["variants"]["tiny"] == 50 and listed["figstep"]["licence"] == "MIT"
    assert not listed["mossbench"]["trainable"]


@pytest.mark.slow
def test_an_evaluation_and_its_report_print_the_same_results_as_json(davsp: Davsp, tmp_path: Path) -> None:
    asking = ["evaluate", "--data", "testbed", "--per-group", 1, "--max-new-tokens", 8, "--out", tmp_path]
    status, out, told = davsp(*asking, "--json", "-q")
    assert (status, told) == (0, "")
    [results] = json.loads(out)
    assert results["queries"] == 16 and results["defences"]["none"]["rsr"]
    assert json.loads(davsp("report", tmp_path, "--json")[1]) == [results]


def test_a_question_is_answered_quietly(davsp: Davsp, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    status, out, told = davsp("ask", tmp_path / "a.png", "what is it ?", "--max-new-tokens", 2, "-q")
    assert status == 0 and out.strip() and told == ""


@pytest.mark.slow
def test_a_verbose_command_tells_what_libraries_log(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    asking = ["ask", str(tmp_path / "a.png"), "what is it ?", "--max-new-tokens", "2", "-v"]
    said = subprocess.run([sys.executable, "-m", "davsp", *asking], capture_output=True, text=True, check=True)
    assert "[transformers] loading configuration file" in said.stderr
