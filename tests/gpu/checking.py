"""Checks: run one after the other, timed, their memory measured; one that fails does not stop the next."""

from __future__ import annotations

import gc
import io
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import torch

OUTCOMES = "outcomes.jsonl"
LONGEST_REASON = 300


class NotApplicableError(Exception):
    """What is checked does not exist here; the message says why, if an earlier stage has not said it."""


class CommandFailedError(Exception):
    """A command ended with another status than 0."""


@dataclass(frozen=True)
class Check:
    """One row of the table. Its stages run in order, each by its name, whether those before it passed or not."""

    name: str
    stages: Sequence[tuple[str, Callable[[], object]]]


@dataclass(frozen=True)
class Outcome:
    """How a check went: `peak` in MiB of GPU memory (None without a GPU), a line for every stage that failed, and for
    every one that does not apply."""

    name: str
    seconds: float
    peak: float | None = None
    failed: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def row(self) -> str:
        """A line of the table."""
        memory = "-" if self.peak is None else f"{self.peak:,.0f}"
        noted = f" (left out: {'; '.join(self.left_out)})" if self.left_out else ""
        return f"{self.name:<56} {self.seconds:7.1f} {memory:>9}  {'; '.join(self.failed) or 'ok'}{noted}"


HEAD = f"{'what':<56} {'seconds':>7} {'peak MiB':>9}  ok, or why not"


class PeakMemory:
    """The most GPU memory that tensors have held since it was made; none is measured without a GPU."""

    def __init__(self) -> None:
        if torch.cuda.is_available():
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> float | None:
        """In MiB."""
        return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None


def run_check(check: Check) -> Outcome:
    """Run every stage of a check. What a failing stage said goes to standard error, with its traceback."""
    memory = PeakMemory()
    failed, left_out = list[str](), list[str]()
    began = time.perf_counter()
    for name, stage in check.stages:
        said = io.StringIO()
        try:
            with redirect_stdout(said), redirect_stderr(said):
                stage()
        except NotApplicableError as reason:
            left_out += [f"{name}: {reason}"] if str(reason) else []
        except Exception as error:
            failed.append(f"{name}: {_reason(error)}")
            print(f"{said.getvalue()}\n{check.name}, {name}:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
    return Outcome(check.name, round(time.perf_counter() - began, 1), memory.peak(), tuple(failed), tuple(left_out))


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    kind = "" if isinstance(error, CommandFailedError) else f"{type(error).__name__}: "
    return f"{kind}{lines[0]}"[:LONGEST_REASON]


def note_began(stream: IO[str], name: str) -> None:
    """Note that a check begins: one that its process does not survive is known by that."""
    print(json.dumps({"began": name}), file=stream, flush=True)


def note_outcome(stream: IO[str], outcome: Outcome) -> None:
    print(json.dumps(asdict(outcome)), file=stream, flush=True)


def read_outcomes(folder: Path, ended: str | None) -> list[Outcome]:
    """What was noted in the folder. `ended`: how its process ended, if not well: that failed which it was at."""
    file = folder / OUTCOMES
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    found = [
        Outcome(**{**line, "failed": tuple(line["failed"]), "left_out": tuple(line["left_out"])})
        for line in lines
        if "began" not in line
    ]
    if ended:
        at = lines[-1].get("began", f"{folder.name}, at its end") if lines else f"{folder.name}, at its start"
        found.append(Outcome(at, 0.0, failed=(ended,)))
    return found
