"""The one loop of everything that is trained or fitted: steps, a log, validation, Ctrl-C, and resuming.

A folder holds the run's last saved state (state.pt) and a line for each step and each validation (metrics.jsonl).
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from davsp.errors import MALFORMED, ArtefactError, InputError
from davsp.training.run_state import METRICS, STATE, Interrupted, Record, interruptible, load_state, read_metrics
from davsp.util.files import append_line, make_folder, save_tensors
from davsp.util.processes import processes
from davsp.util.progress import bar

Report = Callable[[Record], None]
"""Gets every record once it is logged: {"step": done, ...} of a step, {"step": done, "validation": {...}} of a
validation."""


class Fitting(ABC):
    """Something that is fitted in steps, each a function of its number and the state before it."""

    steps: int
    """How many steps there are."""
    several_processes: ClassVar[bool] = False
    """Whether the processes of a run share the work of a step. All of them then hold the same state after it."""

    @abstractmethod
    def step(self, number: int) -> Record:
        """Do step `number`, from 0, and return what is to be logged of it."""

    @abstractmethod
    def state(self) -> Record:
        """What `restore` needs: tensors, numbers, texts, and lists and dicts of them."""

    @abstractmethod
    def restore(self, state: Record) -> None:
        """Take over a state, whose tensors are on the CPU."""

    @abstractmethod
    def identity(self) -> Record:
        """What must be equal for a saved state to be resumed."""

    def progress(self, step: Record, validation: Record | None) -> str:
        """What is shown beside the bar: of the last step's record, and of the last validation's, {"step": done,
        "validation": {...}}. By default their numbers."""
        checked = f"; after {validation['step']}: {_numbers(validation['validation'])}" if validation else ""
        return f"{_numbers(step)}{checked}"

    def validate(self, done: int) -> Record | None:  # noqa: ARG002 - for those that are validated
        """Measure what `done` steps have made, and return what is to be logged of it; by default nothing is measured.

        Called before the first step, and whenever the state is about to be saved.
        """
        return None


def run(
    fitting: Fitting,
    folder: Path,
    *,
    title: str,
    save_every: int = 50,
    quiet: bool = False,
    report: Report = lambda record: None,
) -> Record:
    """`run_steps`, and then the last step's record with its number as "step".

    Raises what `run_steps` raises, and ArtefactError when the folder's log has got lost.
    """
    run_steps(fitting, folder, title=title, save_every=save_every, quiet=quiet, report=report)
    records = [record for record in read_metrics(folder) if "validation" not in record]
    if not records:
        raise ArtefactError(f"{folder} has lost its {METRICS}: delete the folder to start again.")
    return records[-1]


def run_steps(
    fitting: Fitting,
    folder: Path,
    *,
    title: str,
    save_every: int,
    quiet: bool = False,
    report: Report = lambda record: None,
) -> None:
    """Do all steps, going on from the state saved in `folder`, with a progress bar called `title`.

    The state is saved after every `save_every` steps, after the last, and on Ctrl-C. Only the first of several
    processes writes files.

    Raises Interrupted after Ctrl-C in any process, once the step in work is done and the state is saved; ArtefactError
    when the saved state is damaged or of another run; InputError in several processes where one alone can do it.
    """
    together = processes()
    if together.count > 1 and not fitting.several_processes:
        raise InputError("`davsp fit` runs in one process: start it without a launcher.")
    make_folder(folder)
    done = resume(fitting, folder)
    checked: Record | None = None
    with bar(title, fitting.steps, done=done, quiet=quiet) as advance, interruptible() as interrupted:
        if done == 0 and (validation := fitting.validate(0)) is not None:
            checked = _checkpoint(fitting, folder, 0, validation, report)
        while done < fitting.steps:
            record = {"step": done + 1, **fitting.step(done)}
            done += 1
            _log(folder, record)
            report(record)
            stop = any(together.all_gather([interrupted()]))
            if done % save_every == 0 or done == fitting.steps:
                checked = _checkpoint(fitting, folder, done, fitting.validate(done), report)
            elif stop:
                _save(fitting, folder, done)
            advance.tell(fitting.progress(record, checked))
            advance(1)
            if stop:
                raise Interrupted(done)


def resume(fitting: Fitting, folder: Path) -> int:
    """Restore the state saved in a folder, drop metrics written after it, and return the number of steps done: 0 where
    nothing was saved. Raises ArtefactError when the state is damaged or of another run."""
    saved = load_state(folder, fitting.identity)
    if saved is None:
        return 0
    try:
        fitting.restore(saved["state"])
    except (RuntimeError, *MALFORMED) as error:
        raise ArtefactError(f"{folder / STATE} is damaged: delete it to start again.") from error
    return int(saved["step"])


def _checkpoint(fitting: Fitting, folder: Path, done: int, validation: Record | None, report: Report) -> Record | None:
    """Log what was validated, if anything was, save the state, and report and return the record."""
    if validation is None:
        _save(fitting, folder, done)
        return None
    record = {"step": done, "validation": validation}
    _log(folder, record)
    _save(fitting, folder, done)
    report(record)
    return record


def _numbers(record: Record) -> str:
    return ", ".join(
        f"{name} {value:.4g}" for name, value in record.items() if isinstance(value, int | float) and name != "step"
    )


def _log(folder: Path, record: Record) -> None:
    if processes().is_main:
        append_line(folder / METRICS, json.dumps(record))


def _save(fitting: Fitting, folder: Path, done: int) -> None:
    if processes().is_main:
        save_tensors(folder / STATE, {"step": done, "identity": fitting.identity(), "state": fitting.state()})
