"""The examples run as they are, with fewer steps and queries."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.slow


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(name: str, **options: Any) -> Any:
    return runpy.run_path(str(EXAMPLES / name))["main"](**options)


def test_every_example_is_run_by_a_test() -> None:
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    names = [path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")]
    assert len(names) == 9, names
    assert all(f'"{name}"' in tests for name in names)


def test_a_prompt_is_trained_asked_and_used_in_a_pipeline(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("harden_and_ask.py", steps=2, per_group=4)
    printed = capsys.readouterr().out
    assert "defended:   " in printed
    assert "saved as:   example for testbed" in printed
    assert run("transformers_pipeline.py")


def test_three_defences_are_compared(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("evaluate_three_defences.py", steps=2, per_group=2)
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("none", "adashield-s", "example", "over_refusal"))
    assert "<title>" in (here / "runs" / "example.html").read_text("utf-8")


def test_own_data_are_written_split_trained_on_and_measured(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("your_own_data.py", steps=2)
    assert "hidden states: (10, 2, 160)" in capsys.readouterr().out


def test_an_own_defence_is_compared(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("my_defence.py", per_group=2)
    assert "polite" in capsys.readouterr().out


def test_the_notebook_runs_and_shows_pictures_tables_and_progress(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPS", "2")
    monkeypatch.setenv("PER_GROUP", "2")
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(EXAMPLES.parents[0] / "src"), os.environ.get("PYTHONPATH", "")])
    )
    notebook = nbformat.read(EXAMPLES / "walkthrough.ipynb", as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(here)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    html = [output.data["text/html"] for output in outputs if "data" in output and "text/html" in output.data]
    assert any("data:image/png;base64," in text for text in html), "the prompt shows its border"
    assert any("<table" in text and "resisted" in text for text in html), "the evaluation shows its table"
    assert any("over_refusal" in text for text in html), "the frame shows its rows"
