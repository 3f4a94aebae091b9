"""`davsp attack`, and `davsp evaluate` of what it wrote: the results tell of the attack."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command_line import run

pytest.importorskip("inspect_ai")


def test_an_attack_is_written_shown_and_evaluated_with_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "attack"
    chosen = ("--per-group", 1, "--set", "eps=16", "--set", "steps=2", "--against", "prefix")
    status, printed, err = run(monkeypatch, capsys, "attack", "pgd", *chosen, "--out", out)
    assert status == 0, err
    assert printed.strip() == str(out)
    assert "Benign queries are left out" in err and "pgd against prefix: 5 queries attacked" in err
    status, printed, _ = run(monkeypatch, capsys, "show", out, "--json")
    shown = json.loads(printed)
    assert status == 0 and shown["folder"] == "queries rewritten by an attack" and shown["against"] == "prefix"
    told = ("--data", out, "--defence", "prefix", "--max-new-tokens", 8, "--out", tmp_path / "eval")
    status, printed, err = run(monkeypatch, capsys, "evaluate", *told)
    assert status == 0, err
    results = json.loads((tmp_path / "eval/results.json").read_text())
    assert results["attack"]["options"]["eps"] == 16 and results["attack"]["against"] == ["prefix"]
    assert results["queries"] == 5 and any("pgd (" in remark for remark in results["remarks"])


def test_evaluate_attacks_and_measures_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--attack", "wording:variants=role-play+leetspeak", "--per-group", 1, "--limit", 2, "--max-new-tokens", 4)
    status, _, err = run(monkeypatch, capsys, "evaluate", *asked, "--out", tmp_path)
    assert status == 0, err
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["attack"]["name"] == "wording" and results["queries"] == 4
    assert (tmp_path / "attack" / "queries.jsonl").is_file()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("attack", "pgdd"), "there is no attack 'pgdd'"),
        (("attack", "pgd", "--set", "eps=0"), "attack pgd: option 'eps'"),
        (("attack", "picture", "--limit", 1, "--against", "prefix"), "leave out --against"),
        (("evaluate", "--against", "prefix", "--limit", 1), "--against is what an attack knows"),
    ],
)
def test_what_cannot_be_attacked_is_told(
    arguments: tuple[object, ...],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, _, err = run(monkeypatch, capsys, *arguments, "--out", tmp_path / "a")
    assert status == 2 and told in err
