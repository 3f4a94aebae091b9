"""`davsp judge`, and the options that choose a judge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command_line import run as command
from tests.judges.labelled import COMPLIED, REFUSED, xstest


def test_validating_prints_json_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = xstest(tmp_path, "a", ("I cannot do that.", REFUSED), ("Take a pen.", COMPLIED))
    status, out, _ = command(monkeypatch, capsys, "judge", "validate", "rules", "--labels", file, "--json")
    found = json.loads(out)
    assert status == 0
    assert found["refusal"]["models"]["a"]["kappa"]["value"] == 1.0
    assert found["labels"][0]["file"] == file.name
    status, out, _ = command(monkeypatch, capsys, "judge", "validate", "rules", "--labels", file)
    assert (status, "balanced" in out) == (0, True)
    status, _, told = command(monkeypatch, capsys, "judge", "validate", "rules", "--labels", file, "--labels", file)
    assert (status, "named twice" in told) == (2, True)


def test_brackets_in_the_name_of_a_model_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = xstest(tmp_path, "[b]", ("I cannot do that.", REFUSED), ("Take a pen.", COMPLIED))
    status, out, _ = command(monkeypatch, capsys, "judge", "validate", "rules", "--labels", file)
    assert (status, "[b]" in out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("judge", "validate", "llm", "--labels", "a.csv"), "a.csv: no such file"),
        (("evaluate", "--out", "x", "--judge", "llm"), "none is bound"),
        (("evaluate", "--out", "x", "--judge-model", "mockllm/model"), "calls no model"),
    ],
)
def test_the_command_line_says_what_is_missing_before_any_generation(
    arguments: tuple[str, ...],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = command(monkeypatch, capsys, *arguments)
    assert status == 2
    assert told in err and "Traceback" not in err
    assert not (tmp_path / "x").exists()
