"""The tests that are marked `gpu`: a row of the table for each function, whatever it is parametrised by."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import pytest

from tests.gpu.checking import Outcome, PeakMemory, note_began, note_outcome

TESTS = Path(__file__).with_name("test_on_gpu.py")
PREFIX = "test:"
"""Begins each row."""


class _Rows:
    """Notes each function's outcome when the last of its tests has ended. `words`: what a name must hold all of."""

    def __init__(self, stream: IO[str], only: list[list[str]]) -> None:
        self.stream, self.only = stream, only
        self.left: dict[str, int] = {}
        self._clear()

    def _clear(self) -> None:
        self.seconds, self.failed, self.left_out = 0.0, dict[str, None](), dict[str, None]()
        self.memory = PeakMemory()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [i for i in items if not self.only or any(all(w in row_of(i.nodeid) for w in o) for o in self.only)]
        for item in items:
            self.left[row_of(item.nodeid)] = self.left.get(row_of(item.nodeid), 0) + 1

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        note_began(self.stream, row_of(nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds += report.duration
        case = report.nodeid.partition("[")[2].rstrip("]") or "test"
        if report.failed:
            errors = [line[1:].strip() for line in report.longreprtext.splitlines() if line.startswith("E ")]
            self.failed[f"{case}: {(errors or report.longreprtext.splitlines()[-1:])[0]}"] = None
        elif report.skipped and isinstance(report.longrepr, tuple):
            self.left_out[report.longrepr[2].removeprefix("Skipped: ")] = None
        if report.when == "teardown":
            row = row_of(report.nodeid)
            self.left[row] -= 1
            if not self.left[row]:
                seconds = round(self.seconds, 1)
                note_outcome(
                    self.stream, Outcome(row, seconds, self.memory.peak(), tuple(self.failed), tuple(self.left_out))
                )
                self._clear()


def row_of(test: str) -> str:
    """What stands in the table for a test: its function's name as a sentence."""
    return f"{PREFIX} {test.rpartition('::test_')[2].partition('[')[0].replace('_', ' ')}"


def run_tests(stream: IO[str], only: list[list[str]]) -> int:
    """Run them, those alone whose row holds all words of one of `only`; gives pytest's status."""
    return int(
        pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(TESTS)], plugins=[_Rows(stream, only)])
    )
