"""`davsp benchmark`: list, show and score."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from davsp.benchmarks import BENCHMARKS
from davsp.cli import app
from davsp.errors import InputError
from tests.benchmarks.folders import made

HEAVY = {"torch", "transformers", "inspect_ai", "matplotlib", "pyarrow"}


def modules_after(code: str) -> set[str]:
    """The names of all modules that a fresh Python has imported after some code; what the code prints is dropped."""
    code = (
        f"import contextlib, io, sys\nwith contextlib.redirect_stdout(io.StringIO()):\n    {code}\nprint(*sys.modules)"
    )
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_naming_benchmarks_imports_neither_them_nor_torch() -> None:
    modules = modules_after("import davsp.cli.benchmark, davsp.benchmarks; davsp.benchmarks.BENCHMARKS.names()")
    assert not (HEAVY | {"davsp.benchmarks.figstep"}) & modules
    assert "davsp.benchmarks" not in modules_after("import davsp.cli"), "for --help, not even the registry is needed"


def test_the_list_of_benchmarks_imports_their_records_and_not_torch() -> None:
    modules = modules_after("import davsp.cli; davsp.cli.app(['benchmark', 'list'], standalone_mode=False)")
    assert "davsp.benchmarks.figstep" in modules
    assert not HEAVY & modules


def test_the_command_lists_every_benchmark() -> None:
    run = CliRunner().invoke(app, ["benchmark", "list"], env={"COLUMNS": "200"})
    assert run.exit_code == 0, run.output
    assert all(name in run.stdout for name in BENCHMARKS.names())
    assert "PKU-Alignment/MM-SafetyBench" in run.stdout and "no known revision" in run.stdout


def test_the_command_shows_what_a_folder_holds(tmp_path: Path) -> None:
    made("jailbreakv", tmp_path)
    run = CliRunner().invoke(app, ["benchmark", "show", "jailbreakv", str(tmp_path), "--variant", "mini", "--json"])
    assert run.exit_code == 0, run.output
    told = json.loads(run.stdout)
    assert (told["variant"], told["queries"], told["published"]) == ("mini", 1, 280)
    assert told["groups"] == {"Template": 1} and told["notes"] == ["1 of 280 queries"]
    assert told["dropped"][0].startswith("1: no image ")
    run = CliRunner().invoke(app, ["benchmark", "show", "jailbreakv", str(tmp_path)])
    assert run.exit_code == 0, run.output
    assert "Template" in run.stdout and "Dropped:  1\n  1: no image " in run.stdout and "Licence:  MIT" in run.stdout


def test_the_command_scores_a_folder_of_answers_as_json(tmp_path: Path) -> None:
    for name in ("one", "two"):
        review = {"category": "llava_bench_conv", "tuple": [8, 6]}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(review) + "\n")
    run = CliRunner().invoke(app, ["benchmark", "score", "llava_bench", str(tmp_path), "--json"])
    assert run.exit_code == 0, run.output
    told = json.loads(run.stdout)
    assert [a["name"] for a in told["answers"]] == ["one", "two"]
    assert told["answers"][0]["figures"]["all"]["value"] == 75


def test_the_command_says_which_benchmarks_can_be_scored(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["benchmark", "score", "figstep", str(tmp_path)])
    assert isinstance(run.exception, InputError)
    assert "These have one: llava_bench, mm_vet, mme, pope." in str(run.exception)
