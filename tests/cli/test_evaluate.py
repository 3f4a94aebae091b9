"""`davsp evaluate` in scripts: its options in a file, and its status where a measure is beyond a bound."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command_line import run

pytest.importorskip("inspect_ai")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "evaluate.yaml"
    file.write_text(f"out: {tmp_path / 'out'}\ndefense: prefix\nper-group: 2\nmax-new-tokens: 4\nseed: 3\n", "utf-8")
    return file


def test_a_file_has_the_options_and_the_command_line_goes_before_it(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run(monkeypatch, capsys, "evaluate", "--config", config, "--per-group", 1)
    assert status == 0, err
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert (list(results["defences"]), results["seed"], results["max_new_tokens"]) == (["none", "prefix"], 3, 4)
    assert results["queries"] == 16, "one of each kind"
    made = results["provenance"]
    assert made["command"] == f"davsp evaluate --config {config} --per-group 1" and made["sources"] == ["testbed"]
    assert (results["device"], results["dtype"]) == ("cpu", "float32") and len(results["judge_identity"]) == 16


def test_a_measure_beyond_its_bound_ends_with_status_3(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bounds = ("--fail-under", "prefix:rsr=0", "--fail-over", "over_refusal=1", "--fail-under", "unchanged=0.1")
    status, _, err = run(monkeypatch, capsys, "evaluate", "--config", config, "--per-group", 1, *bounds)
    assert status == 3
    assert "FAILED: prefix: unchanged was not measured" in err and err.count("FAILED") == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("limt: 3", "there is no option 'limt'. There are: out, defence, defense, model, data, benchmark, attack"),
        ("limit: 2.5", "limit: "),
        ("limit: {a: 1}", "limit: {'a': 1} is no value of it"),
        ("limit:", "limit: None is no value of it"),
        ("dtype: float64", "'float64' is not one of"),
        ("defence: a\ndefense: b", "two names"),
        ("- limit", "write an option and its value"),
        ("limit: [", "cannot read"),
        ("config: other.yaml", "there is no option 'config'"),
        ("fail-under: rsr", "write MEASURE=BOUND"),
    ],
)
def test_what_is_wrong_in_a_file_is_told(
    content: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text(content, "utf-8")
    status, _, err = run(monkeypatch, capsys, "evaluate", "--out", tmp_path / "x", "--config", tmp_path / "bad.yaml")
    assert status == 2 and told in err and "Traceback" not in err


def test_a_file_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(monkeypatch, capsys, "evaluate", "--config", "nowhere.yaml")
    assert status == 2 and "nowhere.yaml" in err
