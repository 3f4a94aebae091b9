"""Progress on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from davsp.util.processes import processes


@contextmanager
def bar(text: str, total: int, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A progress bar, shown by the leading process; gives the function that moves it on by so many."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet or not processes().is_main) as progress:
        task = progress.add_task(text, total=total)
        # Several processes each count for all of them, which may come to more than there is to do.
        yield lambda n: progress.update(task, completed=min(progress.tasks[task].completed + n, total))


@contextmanager
def bars(names: Sequence[str], total: int, *, quiet: bool = False) -> Iterator[dict[str, Callable[[], None]]]:
    """A bar for every name, shown by the leading process; gives the functions that move them on by one."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet or not processes().is_main) as shown:
        tasks = {name: shown.add_task(name, total=total) for name in names}
        yield {name: partial(shown.advance, task) for name, task in tasks.items()}
