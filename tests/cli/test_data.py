"""`davsp data draw`, and training and evaluating with what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command_line import run as command
from tests.drawing.stand_ins import NAUGHTY, NICE

Patch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def texts(tmp_path: Path) -> tuple[Path, Path]:
    """Malicious texts, one a line, and benign ones with their answers."""
    malicious, benign = tmp_path / "malicious.txt", tmp_path / "benign.jsonl"
    malicious.write_text("\n".join(NAUGHTY))
    benign.write_text("".join(json.dumps({"instruction": text, "response": "smile ."}) + "\n" for text in NICE))
    return malicious, benign


def test_drawing_writes_a_folder_and_says_how_many(
    tmp_path: Path, texts: tuple[Path, Path], monkeypatch: Patch, capsys: Capture
) -> None:
    call = ["data", "draw", "--malicious", texts[0], "--benign", texts[1], "--per-kind", 10, "--side", 224]
    status, out, told = command(monkeypatch, capsys, *call, "--out", tmp_path / "drawn", "--kinds", "typo, counting")
    assert (status, out.strip()) == (0, str(tmp_path / "drawn"))
    assert "train: 24 queries, validation: 3 queries, test: 3 queries" in told
    assert "benign texts are in no pair" in told
    status, _, told = command(monkeypatch, capsys, *call, "--out", tmp_path / "drawn", "--seed", 1)
    assert status == 2 and "holds another draw (different: kinds, seed)" in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--split", "most"], "--split most: give shares"),
        (["--kinds", "typo,tupo"], "there is no kind 'tupo'"),
        (["--font", "none.ttf"], "none.ttf: no such file"),
        (["--side", "64"], "choose from 96"),
        (["--column", "wish"], "no column 'wish'"),
    ],
)
def test_what_cannot_be_drawn_ends_in_one_message(
    tmp_path: Path, texts: tuple[Path, Path], monkeypatch: Patch, capsys: Capture, options: list[str], told: str
) -> None:
    call = ["data", "draw", "--malicious", texts[0], "--benign", texts[1], "--out", tmp_path / "drawn"]
    status, _, said = command(monkeypatch, capsys, *call, *options)
    assert status == 2 and told in said and not (tmp_path / "drawn").exists()


def test_texts_that_cannot_be_drawn_are_left_out_on_request(
    tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    (tmp_path / "benign.txt").write_text("Bake a cake\n写一首诗\n")
    call = ["data", "draw", "--benign", tmp_path / "benign.txt", "--kinds", "typo", "--split", 1]
    call += ["--side", 96, "--out", tmp_path / "drawn"]
    status, _, told = command(monkeypatch, capsys, *call)
    assert status == 2 and "benign.txt, line 2: U+5199" in told
    status, _, told = command(monkeypatch, capsys, *call, "--skip-bad")
    assert status == 0 and "1 benign texts left out: cannot be drawn." in told
    assert "1 benign texts left out" in (tmp_path / "drawn" / "README.md").read_text()


@pytest.mark.slow
def test_what_was_drawn_is_trained_and_evaluated_with(
    tmp_path: Path, texts: tuple[Path, Path], monkeypatch: Patch, capsys: Capture
) -> None:
    drawn, prompt = tmp_path / "drawn", tmp_path / "prompt"
    call = ["data", "draw", "--malicious", texts[0], "--benign", texts[1], "--out", drawn]
    assert command(monkeypatch, capsys, *call, "--per-kind", 10, "--side", 224)[0] == 0
    call = ["train", "--data", f"{drawn}:train", "--validation", f"{drawn}:validation", "--out", prompt]
    status, _, told = command(monkeypatch, capsys, *call, "--set", "steps=2", "--set", "validate_every=2")
    assert status == 0, told
    call = ["evaluate", "--data", f"{drawn}:test", "--defence", prompt, "--out", tmp_path / "evaluation"]
    assert command(monkeypatch, capsys, *call, "--max-new-tokens", 8)[0] == 0
    results = json.loads((tmp_path / "evaluation" / "results.json").read_text())
    assert results["queries"] == 11
