"""`python -m bench --gpu`: how fast training, answering and whole jobs are on one card, in a few minutes.

Every part is measured in a process of its own, with a limit of its own: what fails, or takes too long, leaves a row
that says so. Models have random weights of LLaVA-1.5's true geometry, made on the card.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench import gpu_jobs, gpu_training, reading, training
from bench.gpu_place import Measure, Place
from bench.measuring import Row, line, machine, versions
from davsp.models.shipped import SMOL
from davsp.util.files import append_line, write_json

BUDGET = 240
"""Seconds of everything."""


@dataclass(frozen=True)
class Part:
    """Rows of one size of model, by their names, and in how many seconds they are to be measured."""

    size: str
    limit: int
    rows: Mapping[str, Measure]


_READING: dict[str, Measure] = {
    training.PEAK_MEMORY: gpu_training.peak_row,
    reading.NAME: gpu_training.reading_row,
}
PARTS = {
    "7b": Part(
        "7b",
        110,
        {
            **gpu_training.STEPS,
            **_READING,
            gpu_jobs.PLAIN: partial(gpu_jobs.answers_row, inspected=False),
            gpu_jobs.INSPECTED: partial(gpu_jobs.answers_row, inspected=True),
            gpu_jobs.GATED: gpu_jobs.gate_row,
        },
    ),
    "13b": Part(
        "13b",
        110,
        {
            **gpu_training.STEPS,
            gpu_training.RECOMPUTED: gpu_training.recomputed_row,
            gpu_training.WHOLE: gpu_training.whole_row,
            **_READING,
        },
    ),
    "demo": Part("testbed", 70, {gpu_jobs.DEMO: gpu_jobs.demo_row}),
    "smol": Part(SMOL, 40, {gpu_jobs.TRAINED: gpu_jobs.smol_row}),
    "compiled": Part("7b", 90, gpu_training.COMPILED),
}


def measure(results: Path, chosen: Sequence[str], *, tiny: bool = False, budget: float = BUDGET) -> list[Row]:
    """Measure the parts of these names in `budget` seconds, print every row, and write all of them to `results`, where
    the rows of other parts are kept."""
    began = time.monotonic()
    found = json.loads(results.read_text("utf-8")) if results.is_file() else {}
    rows: list[Row] = found.get("rows", [])
    for name in chosen:
        left = budget - (time.monotonic() - began)
        fresh = _measure_part(name, tiny, min(PARTS[name].limit, left))
        renewed = {(row["name"], row["size"]) for row in fresh}
        rows = [row for row in rows if (row["name"], row["size"]) not in renewed] + fresh
        for row in fresh:
            print(line(row), flush=True)
        seconds = round(time.monotonic() - began, 1)
        head = {"machine": machine(), "versions": versions(), "date": date.today().isoformat(), "seconds": seconds}
        write_json(results, head | {"rows": rows})
    return rows


def _measure_part(name: str, tiny: bool, limit: float) -> list[Row]:
    """The rows of a part, from a process of its own."""
    part = PARTS[name]
    if limit < 1:
        return [failed(row, part.size, "no time was left") for row in part.rows]
    print(f"Measuring {name}, for at most {limit:.0f} s", file=sys.stderr, flush=True)
    environment = os.environ | ({"CUDA_VISIBLE_DEVICES": ""} if tiny else {})
    with TemporaryDirectory() as folder:
        told = Path(folder) / "rows.jsonl"
        command = [sys.executable, "-m", "bench.gpu", name, str(told), *(["--tiny"] if tiny else [])]
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            status = process.wait(limit)
            ended = f"its process ended with status {status}"
        except subprocess.TimeoutExpired:
            ended = f"stopped after {limit:.0f} s"
        finally:
            _end(process)
        measured = [json.loads(text) for text in told.read_text("utf-8").splitlines()] if told.is_file() else []
    names = {row["name"] for row in measured}
    return measured + [failed(row, part.size, ended) for row in part.rows if row not in names]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started, if they still run."""
    if process.poll() is None:
        os.killpg(process.pid, 9)
        process.wait()


def failed(name: str, size: str, reason: str) -> Row:
    """A row that was not measured, and why."""
    return {"name": name, "size": size, "vs_reference": None, "vs_floor": None, "n": 0, "note": "", "failed": reason}


def run_part(part: Part, told: Path, tiny: bool) -> None:
    """Measure a part's rows in this process, each a line of `told` as soon as it is there."""
    with TemporaryDirectory() as folder:
        place = Place(part.size, tiny, Path(folder), turns=1 if tiny else 2)
        for name, of in part.rows.items():
            try:
                row = of(place)
            except Exception as error:
                traceback.print_exc()
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                row = failed(name, part.size, reason)
            append_line(told, json.dumps(row))
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


if __name__ == "__main__":
    run_part(PARTS[sys.argv[1]], Path(sys.argv[2]), "--tiny" in sys.argv[3:])
