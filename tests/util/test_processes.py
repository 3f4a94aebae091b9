"""Several processes do together what one does alone: started by `accelerate launch`, two on this machine's CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from davsp.training.vector import HarmfulnessVector
from davsp.util.processes import Processes

TRAINING = ["steps=5", "validate_every=2", "validation_answers=3", "batch_size=8", "prefix=be careful ."]
TRAINING += ["micro_batch=2", "method=adam"]
LAUNCH = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0", "-m"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(arguments: list[str], together: bool = False) -> list[str]:
    return [sys.executable, *(LAUNCH if together else ["-m"]), "davsp", *arguments]


def run(arguments: list[str], together: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(arguments, together), check=True, capture_output=True, text=True, env=ENVIRONMENT, timeout=300
    )


def training(vector: Path, out: Path) -> list[str]:
    return ["train", "--vector", str(vector), "--out", str(out), *(p for o in TRAINING for p in ("--set", o))]


def workers_of(launcher: int) -> list[int]:
    found = Path(f"/proc/{launcher}/task/{launcher}/children")
    return [int(pid) for pid in found.read_text().split()] if found.exists() else []


def test_every_item_is_one_processs_own() -> None:
    shares = [Processes(rank, 3).shard(range(8)) for rank in range(3)]
    assert sorted(i for share in shares for i in share) == list(range(8))
    assert Processes().shard(range(8)) == range(8)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find the processes it kills")
def test_two_processes_train_the_border_of_one_and_one_goes_on_where_two_were_killed(
    vector: HarmfulnessVector, tmp_path: Path
) -> None:
    vector.save(tmp_path / "vector")
    alone, both, cut = (tmp_path / name for name in ("alone", "both", "cut"))
    run(training(tmp_path / "vector", alone))
    printed = run(training(tmp_path / "vector", both), together=True).stdout
    assert printed.strip() == str(both), "one process of the two prints the result"

    launcher = subprocess.Popen(
        command(training(tmp_path / "vector", cut), together=True),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    metrics = cut / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not (metrics.exists() and '"step": 3' in metrics.read_text()):
        time.sleep(0.02)
    workers = workers_of(launcher.pid)
    assert len(workers) == 2
    os.kill(workers[-1], signal.SIGKILL)
    _, errors = launcher.communicate(timeout=120)
    assert launcher.returncode != 0, errors
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert not (cut / "config.json").exists(), "the run was over before a process was killed"
    run(training(tmp_path / "vector", cut))

    expected = load_file(alone / "model.safetensors")["prompt"]
    for folder in (both, cut):
        assert (load_file(folder / "model.safetensors")["prompt"] - expected).abs().max() <= 1e-6
    steps = [json.loads(line)["step"] for line in (cut / "metrics.jsonl").read_text().splitlines()]
    assert steps == [0, 1, 2, 2, 3, 4, 4, 5, 5]


@pytest.mark.slow
def test_two_processes_measure_what_one_measures(tmp_path: Path) -> None:
    for together in (False, True):
        out = tmp_path / str(together)
        few = ["--per-group", "20", "--batch-size", "64"]
        run(["vector", "--out", str(out / "vector"), "--prefix", "", *few], together)
        run(["evaluate", "--out", str(out / "rates"), "--per-group", "3", "--max-new-tokens", "20"], together)
    one, two = (json.loads((tmp_path / t / "rates" / "results.json").read_text()) for t in ("False", "True"))
    assert one["defences"] == two["defences"]
    alone, both = (HarmfulnessVector.load(tmp_path / t / "vector") for t in ("False", "True"))
    assert (alone.directions - both.directions).abs().max() < 1e-6
    assert alone.layer == both.layer
    assert [s.auroc for s in alone.statistics] == pytest.approx([s.auroc for s in both.statistics])


def test_too_few_queries_for_the_processes_are_a_clear_error(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    from davsp.errors import InputError
    from tests.training.test_trainer import make_trainer

    model, vector, queries = (request.getfixturevalue(name) for name in ("model", "vector", "queries"))
    trainer = make_trainer(model, vector, queries, batch_size=2)
    monkeypatch.setattr("davsp.training.trainer.processes", lambda: Processes(0, 4))
    with pytest.raises(InputError, match="4 processes cannot share 2 micro-batches"):
        trainer.step(0)
