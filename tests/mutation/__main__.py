"""Break one central line after the other in a copy of the package, and see whether the tests notice.

    python -m tests.mutation [WORD ...] [--jobs N]

Only mutations whose name or file holds one of the words are tried. Ends with status 1 if a mutation survives, or cannot
be applied, or if the tests fail on the package as it is.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from tests.mutation.mutations import MUTATIONS, PACKAGE, Mutation

ROOT = Path(__file__).parents[2]
PASSED, FAILED = 0, 1
"""Pytest's status where all tests passed, and where some did not; others mean that there was nothing to tell by."""
START = """
import sys, davsp, pytest
assert davsp.__file__.startswith(sys.argv[1])
sys.exit(pytest.main(sys.argv[2:]))
"""
TIMEOUT = 600
"""Seconds after which a mutation counts as noticed: it made a test hang."""


@dataclass(frozen=True)
class Outcome:
    """How the tests of one mutation went; `by` is the first test that failed, or what went wrong."""

    mutation: Mutation
    verdict: str
    by: str
    seconds: float


def run_tests(package_parent: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run tests of this checkout on the package below another folder, up to the first that fails."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(package_parent), str(ROOT)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    options = ["-x", "-q", "-p", "no:cacheprovider", "-n", "0", "-m", "not slow", "--tb", "no"]
    return subprocess.run(
        [sys.executable, "-c", START, str(package_parent), *options, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def attempt(mutation: Mutation, scratch: Path) -> Outcome:
    """Apply one mutation to a copy of the package and run its tests."""
    if (count := mutation.occurrences()) != 1:
        return Outcome(mutation, "not applied", f"its text stands {count} times in {mutation.file}", 0.0)
    copy = scratch / f"{MUTATIONS.index(mutation)}"
    shutil.copytree(PACKAGE, copy / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    mutation.apply(copy / PACKAGE.name)
    began = time.monotonic()
    try:
        done = run_tests(copy, mutation.tests)
    except subprocess.TimeoutExpired:
        return Outcome(mutation, "killed", "a test that did not end", time.monotonic() - began)
    seconds = time.monotonic() - began
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    verdict = {PASSED: "survived", FAILED: "killed"}.get(done.returncode, "no tests")
    print(f"{verdict} after {seconds:.0f} s: {mutation.name}", file=sys.stderr)
    return Outcome(mutation, verdict, failed[1].rpartition("::")[2] if failed else "", seconds)


def passes_unbroken(arguments: Sequence[str]) -> bool:
    """Whether tests pass on the package as it is: else their failing tells nothing."""
    done = run_tests(PACKAGE.parent, arguments)
    if done.returncode != PASSED:
        print(f"{' '.join(arguments)} fails on the package as it is:\n{done.stdout}{done.stderr}", file=sys.stderr)
    return done.returncode == PASSED


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("words", nargs="*", help="parts of names or files of the mutations to try; default: all")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="how many at a time")
    asked = parser.parse_args()
    chosen = [m for m in MUTATIONS if not asked.words or any(w in f"{m.name} {m.file}" for w in asked.words)]
    with TemporaryDirectory() as scratch, ThreadPoolExecutor(asked.jobs) as pool:
        unbroken = list(pool.map(passes_unbroken, {mutation.tests: None for mutation in chosen}))
        outcomes = list(pool.map(lambda mutation: attempt(mutation, Path(scratch)), chosen))
    table = Table("broken on purpose", "file", "verdict", "first test that failed", "s")
    for o in outcomes:
        table.add_row(o.mutation.name, o.mutation.file, o.verdict, o.by, f"{o.seconds:.0f}")
    Console(width=None if sys.stdout.isatty() else 180).print(table)
    killed = sum(o.verdict == "killed" for o in outcomes)
    print(f"{killed} of {len(outcomes)} killed.")
    return 0 if killed == len(outcomes) and all(unbroken) else 1


if __name__ == "__main__":
    sys.exit(main())
