"""Two processes against one, one thread each, on the same global batch."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measuring import PAIRS, Row, row
from bench.training import prepare

STEPS = 6


def rows(size: str) -> list[Row]:
    """Seconds of the same training steps, started by `accelerate launch`; starting up does not count."""
    seconds: dict[str, list[float]] = {"ours": [], "reference": []}
    for _ in range(PAIRS):
        seconds["reference"].append(_run(size, 1))
        seconds["ours"].append(_run(size, 2))
    return [
        row(
            "training, two processes : one (one thread each)",
            size,
            seconds,
            reference_aim=1.8,
            note="the same batch of 32; 2.0 is the most there can be",
        )
    ]


def _run(size: str, count: int) -> float:
    launch = [
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        str(count),
        "--main_process_port",
        "0",
        "-m",
    ]
    command = [sys.executable, "-m", *(launch if count > 1 else []), "bench.scaling", size]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return max(float(text.split()[1]) for text in done.stdout.splitlines() if text.startswith("seconds"))


def main(size: str) -> None:
    """Take the steps in this process, one of those launched, and print their seconds."""
    with TemporaryDirectory() as folder:
        trainer = prepare(size, Path(folder)).trainer
        trainer.step(0)
        begun = time.perf_counter()
        for step in range(1, STEPS + 1):
            trainer.step(step)
        # In one write: the processes share the stream.
        sys.stdout.write(f"seconds {time.perf_counter() - begun}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
