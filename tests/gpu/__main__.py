"""Check on a machine with a GPU that everything that computes on one does so, and print a table.

    python -m tests.gpu [--device cuda] [--only WORDS] [--out runs/gpu] [--jobs N]

Every family's tiny checkpoint at every precision, every command on the testbed's models, and the tests marked `gpu`.
Groups of checks run side by side, each in a process of its own, so that a GPU that one of them has upset is no other's.
What fails does not stop the others; the status is 1 if anything failed. What each group said, with tracebacks, is in
--out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import pytest

from davsp.errors import ModelError
from davsp.models.loading import check_device
from tests.gpu import commands, families
from tests.gpu.checking import HEAD, OUTCOMES, Check, Outcome, note_began, note_outcome, read_outcomes, run_check
from tests.gpu.marked import PREFIX, run_tests

ROOT = Path(__file__).parents[2]
LIMIT = 220
"""Seconds after which a group is stopped on a GPU."""
SAID = "said.txt"
CHECKS: dict[str, Callable[[str, Path], Iterable[Check]]] = {
    "demo": commands.demo_checks,
    "commands": commands.checks,
    **{name: partial(families.checks, name) for name in families.FAMILIES},
}
"""By group, the longest first: its checks on a device, in a folder."""
TESTS = "tests"
"""The group of the tests that are marked."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: to try the script itself")
    parser.add_argument("--only", action="append", help="checks whose names hold all these words; repeatable")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of all that is made")
    parser.add_argument("--jobs", type=int, default=min(8, os.cpu_count() or 1), help="how many groups at a time")
    parser.add_argument("--limit", type=int, default=LIMIT, help="seconds for one group")
    parser.add_argument("--group", choices=[*CHECKS, TESTS], help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    only = [words.split() for words in asked.only or ()]
    if asked.group:
        return _do_group(asked.group, asked.device, asked.out / asked.group, only)
    try:
        check_device(asked.device)
    except ModelError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    began = time.perf_counter()
    found: list[Outcome] = []
    print(HEAD, flush=True)
    with ThreadPoolExecutor(asked.jobs) as pool:
        running = [pool.submit(_run_group, group, asked) for group in _groups(asked.device, only)]
        for job in as_completed(running):
            for outcome in job.result():
                found.append(outcome)
                print(outcome.row, flush=True)
    failed = [outcome for outcome in found if outcome.failed]
    seconds = time.perf_counter() - began
    print(f"{len(found) - len(failed)} of {len(found)} ok in {seconds:.0f} s. What was said is in {asked.out}.")
    for outcome in failed:
        print(f"Failed: {outcome.row}")
    return 1 if failed or not found else 0


def _run_group(group: str, asked: argparse.Namespace) -> list[Outcome]:
    """Run a group's checks in a process of its own."""
    folder = asked.out / group
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    chosen = [word for words in asked.only or () for word in ("--only", words)]
    own = ["--group", group, "--device", asked.device, "--out", str(asked.out), *chosen]
    threads = str(max(1, (os.cpu_count() or 1) // asked.jobs))
    environment = {"OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1", **os.environ, "PYTHONPATH": _paths()}
    with (folder / SAID).open("w") as said:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "tests.gpu", *own],
                stdout=said,
                stderr=said,
                env=environment,
                timeout=asked.limit,
            )
            ended = f"its process ended with status {done.returncode}" if done.returncode else None
        except subprocess.TimeoutExpired:
            ended = f"stopped after {asked.limit} s"
    return read_outcomes(folder, ended)


def _paths() -> str:
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def _do_group(group: str, device: str, folder: Path, only: list[list[str]]) -> int:
    """Run the checks of a group whose names hold all words of one of `only`, in this process."""
    with (folder / OUTCOMES).open("a") as stream:
        if group == TESTS:
            status = run_tests(stream, only)
            return 0 if status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) else status
        for check in CHECKS[group](device, folder):
            if _is_chosen(check.name, only):
                note_began(stream, check.name)
                note_outcome(stream, run_check(check))
    return 0


def _is_chosen(name: str, only: list[list[str]]) -> bool:
    return not only or any(all(word in name for word in words) for words in only)


def _groups(device: str, only: list[list[str]]) -> list[str]:
    """The groups of which something is chosen."""
    checked = [g for g, of in CHECKS.items() if any(_is_chosen(check.name, only) for check in of(device, Path()))]
    tested = not only or any(words[0] == PREFIX for words in only)
    return [TESTS, *checked] if tested else checked


if __name__ == "__main__":
    sys.exit(main())
