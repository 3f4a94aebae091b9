"""Progress on standard error: bars on a terminal and in notebooks, elsewhere a plain line now and then."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from time import monotonic

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from davsp.util.processes import processes
from davsp.util.verbosity import Verbosity, verbosity

SECONDS_BETWEEN_LINES = 30.0
"""How long a log stays silent where there is no terminal."""


class Advance(ABC):
    """Moves a bar on by so many, and says below it what there is to say."""

    @abstractmethod
    def __call__(self, n: int) -> None: ...

    @abstractmethod
    def tell(self, note: str) -> None:
        """Show a note beside the progress, in place of the one before."""


@contextmanager
def bar(text: str, total: int, *, done: int = 0, quiet: bool = False) -> Iterator[Advance]:
    """Progress of one piece of work, of which so much was done before, shown by the leading process; gives what moves
    it on."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with _shown([text], total, done, columns, quiet) as (advance,):
        yield advance


@contextmanager
def bars(names: Sequence[str], total: int, *, quiet: bool = False) -> Iterator[dict[str, Callable[[], None]]]:
    """Progress of every name, shown by the leading process; gives the functions that move them on by one."""
    with _shown(names, total, 0, (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()), quiet) as advances:
        yield {name: partial(advance, 1) for name, advance in zip(names, advances, strict=True)}


@contextmanager
def _shown(
    names: Sequence[str], total: int, done: int, columns: Sequence[ProgressColumn], quiet: bool
) -> Iterator[Sequence[Advance]]:
    console = Console(stderr=True)
    quiet = quiet or not processes().is_main or verbosity() is Verbosity.QUIET
    if quiet or console.is_interactive or console.is_jupyter:
        shown = (TextColumn("{task.description}", markup=False), *columns)
        with _Noted(*shown, console=console, disable=quiet) as progress:
            yield [_Bar(progress, progress.add_task(name, total=total, completed=done, note="")) for name in names]
        return
    clock = _Clock(monotonic())
    lines = [_Lines(name, total, done, clock) for name in names]
    yield lines
    for line in lines:
        line.finish()


class _Noted(Progress):
    """Bars, each with a note on the line below it."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        for task in self.tasks:
            if task.fields["note"]:
                yield Text(f"  {task.fields['note']}", style="dim", no_wrap=True, overflow="ellipsis")


class _Bar(Advance):
    """A bar of rich's. Several processes each count for all of them, which may come to more than there is to do."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def __call__(self, n: int) -> None:
        task = self._progress.tasks[self._task]
        self._progress.update(self._task, completed=min(task.completed + n, task.total or 0))

    def tell(self, note: str) -> None:
        self._progress.update(self._task, note=note)


@dataclass
class _Clock:
    """When any of some pieces of work, which are done one after another, last moved on."""

    moved: float


class _Lines(Advance):
    """Lines in a log: the first after a while, and where there was one, one at the end. What is soon done says none.

    The work begins where that before it, which has the same clock, last moved on.
    """

    def __init__(self, name: str, total: int, done: int, clock: _Clock) -> None:
        self._name, self._total, self._before = name, total, done
        self._done = self._told = done
        self._note = ""
        self._clock = clock
        self._began = self._last = clock.moved

    def __call__(self, n: int) -> None:
        if self._done == self._before:
            self._began = self._last = self._clock.moved
        self._done = min(self._done + n, self._total)
        self._clock.moved = monotonic()
        ends = self._done == self._total and self._told > self._before
        if ends or self._clock.moved - self._last >= SECONDS_BETWEEN_LINES:
            self._say()

    def tell(self, note: str) -> None:
        self._note = note

    def finish(self) -> None:
        if self._told > self._before and self._done > self._told:
            self._say()

    def _say(self) -> None:
        self._last, self._told = monotonic(), self._done
        gone = self._last - self._began
        left = gone * (self._total - self._done) / max(1, self._done - self._before)
        spent = f"{_clock(gone)} gone" + (f", {_clock(left)} left" if left else "")
        note = f"; {self._note}" if self._note else ""
        print(f"{self._name}: {self._done}/{self._total}, {spent}{note}", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
