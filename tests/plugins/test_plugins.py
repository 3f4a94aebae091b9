"""What another package adds through entry points is used from the command line like davsp's own."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.judges.labelled import COMPLIED, REFUSED, xstest
from tests.tiny import save_tiny

PACKAGE = Path(__file__).parent / "package"


def install(folder: Path, name: str, groups: Mapping[str, Mapping[str, str]]) -> None:
    """What an installer writes beside a package: its name, and its entry points by group."""
    facts = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in points.items()) for group, points in groups.items()]
    (facts / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which davsp-theirs is installed."""
    folder = tmp_path_factory.mktemp("site-packages")
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    shutil.copytree(PACKAGE / "theirs", folder / "theirs")
    install(folder, project["name"], project["entry-points"])
    return folder


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of their benchmark; one of its three questions is no question."""
    folder = tmp_path_factory.mktemp("words")
    rows = [{"id": f"w{n}", "question": question, "word": "the"} for n, question in enumerate(("what ?", "who ?", " "))]
    (folder / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def python(folder: Path | None, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python with a folder of installed packages before all others."""
    path = [str(folder)] if folder else []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*path, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def davsp(folder: Path | None, *arguments: object) -> subprocess.CompletedProcess[str]:
    return python(folder, "-m", "davsp", *arguments)


def test_their_benchmark_is_listed_and_shown(plugin: Path, words: Path) -> None:
    listed = davsp(plugin, "benchmark", "list")
    assert listed.returncode == 0, listed.stderr
    lines = [line for line in listed.stdout.splitlines() if "theirs" in line]
    assert len(lines) == 1 and "usefulness" in lines[0] and "CC0" in lines[0]
    shown = json.loads(davsp(plugin, "benchmark", "show", "theirs", words, "--json").stdout)
    assert (shown["queries"], shown["published"], shown["groups"]) == (2, 3, {"words": 2})
    assert shown["dropped"] == ["w2: the question is empty"]
    without = davsp(None, "benchmark", "show", "theirs", words)
    assert without.returncode == 2 and "there is no benchmark 'theirs'. Choose from figstep, " in without.stderr


@pytest.mark.slow
def test_their_benchmark_and_their_judge_are_evaluated_and_reported(plugin: Path, words: Path, tmp_path: Path) -> None:
    options = ("--limit", 2, "--max-new-tokens", 12, "--out", tmp_path / "out")
    run = davsp(plugin, "evaluate", "--benchmark", f"theirs={words}", "--judge", "theirs", *options)
    assert run.returncode == 0, run.stderr
    results = json.loads((tmp_path / "out/theirs-all/results.json").read_text())
    assert results["judge"] == {"name": "theirs", "model": None}
    assert results["benchmark"]["title"] == "Their words"
    answers = [json.loads(line) for line in (tmp_path / "out/theirs-all/transcripts.jsonl").read_text().splitlines()]
    right = ["the" in answer["answers"]["none"]["text"].split() for answer in answers]
    verdicts = [answer["answers"]["none"]["verdict"] for answer in answers]
    assert verdicts == ["correct" if is_right else "over-refused" for is_right in right]
    share = sum(right) / 2
    assert results["scores"]["none"]["words"]["value"] == share
    with (tmp_path / "out/tables.csv").open() as stream:
        [row] = csv.DictReader(stream)
    [name] = [name for name in row if "words, %" in name and name.endswith(": value")]
    assert float(row[name]) == 100 * share, "its headline stands for it in the tables"


@pytest.mark.slow
def test_their_benchmark_is_a_task_of_inspect(plugin: Path, words: Path, tmp_path: Path) -> None:
    code = """
import sys, inspect_ai
from inspect_ai.model import ModelOutput, ModelUsage, get_model
outputs = [ModelOutput.from_content("m", text) for text in ("the", "a")]
for output in outputs:
    output.usage = ModelUsage()  # else the mock would fetch a tokenizer to count
model = get_model("mockllm/model", custom_outputs=outputs)
arguments = {"folder": sys.argv[1]}
[log] = inspect_ai.eval("davsp/theirs", model=model, task_args=arguments, log_dir=sys.argv[2], display="none")
assert log.status == "success", log.error
print({score.name: {name: m.value for name, m in score.metrics.items()} for score in log.results.scores})
"""
    run = python(plugin, "-c", code, words, tmp_path)
    assert run.returncode == 0, run.stderr
    assert "'theirs_answers': {'words': 0.5}" in run.stdout


@pytest.mark.slow
def test_a_checkpoint_of_their_family_is_asked(plugin: Path, tmp_path: Path) -> None:
    checkpoint = save_tiny("llava", tmp_path / "checkpoint")
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"model_type": "theirs_vl"}))
    # transformers renames keys by the model types that it knows; theirs are saved under the names of their class.
    tensors = load_file(checkpoint / "model.safetensors")
    own = {name.removeprefix("language_model.") if "lm_head" in name else name: t for name, t in tensors.items()}
    save_file(own, checkpoint / "model.safetensors", {"format": "pt"})
    Image.new("RGB", (40, 30), "red").save(tmp_path / "photo.png")
    asked = ("ask", tmp_path / "photo.png", "what colour ?", "--model", checkpoint, "--max-new-tokens", 4)
    run = davsp(plugin, *asked)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()
    without = davsp(None, *asked)
    assert without.returncode == 2 and "theirs_vl" in without.stderr and "Traceback" not in without.stderr


def test_a_name_that_two_packages_claim_says_which_to_uninstall(plugin: Path, tmp_path: Path) -> None:
    shutil.copytree(plugin, tmp_path, dirs_exist_ok=True)
    install(tmp_path, "davsp-others", {"davsp.judges": {"theirs": "others:Judge"}})
    labels = xstest(tmp_path, "model", ("I cannot do that.", REFUSED), ("Take a pen.", COMPLIED))
    alone = davsp(plugin, "judge", "validate", "theirs", "--labels", labels, "--json")
    assert json.loads(alone.stdout)["refusal"]["all"]["sensitivity"]["rate"] == 1.0
    run = davsp(tmp_path, "judge", "validate", "theirs", "--labels", labels)
    assert run.returncode == 2
    assert "the judge 'theirs' is claimed by davsp-others and davsp-theirs: uninstall one of them." in run.stderr


def test_a_package_that_cannot_be_imported_is_named_and_stops_nothing_else(tmp_path: Path, words: Path) -> None:
    install(tmp_path, "davsp-broken", {"davsp.benchmarks": {"broken": "no_such_module:BENCHMARK", "odd": "json:dumps"}})
    shown = davsp(tmp_path, "benchmark", "show", "broken", words)
    assert shown.returncode == 2 and "the benchmark 'broken' of davsp-broken cannot be loaded" in shown.stderr
    odd = davsp(tmp_path, "benchmark", "show", "odd", words)
    assert odd.returncode == 2 and "the benchmark 'odd' of davsp-broken is no Benchmark" in odd.stderr
    registered = python(tmp_path, "-c", "import davsp.evaluation.registry as r; print('figstep' in r.TASKS)")
    assert registered.stdout.strip() == "True", registered.stderr
