"""Where else the records of a training go: TensorBoard, trackio."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path

from davsp.errors import InputError
from davsp.training.loop import Report
from davsp.training.run_state import Record

PROJECT = "davsp"
"""Of trackio, in which each training is a run."""


@contextmanager
def tracked(folder: Path, *, tensorboard: bool = False, trackio: bool = False) -> Iterator[Report]:
    """What takes the records of the training in a folder, to the end of the block. Raises InputError for a tracker that
    is not installed."""
    with ExitStack() as stack:
        reports = [
            stack.enter_context(tracker(folder))
            for wanted, tracker in ((tensorboard, _tensorboard), (trackio, _trackio))
            if wanted
        ]

        def report(record: Record) -> None:
            for each in reports:
                each(record)

        yield report


@contextmanager
def _tensorboard(folder: Path) -> Iterator[Report]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("TensorBoard is not installed. Run: pip install 'davsp[train]'") from error

    with SummaryWriter(str(folder / "tensorboard")) as writer:

        def write(record: Record) -> None:
            for name, value in _named(record).items():
                writer.add_scalar(name, value, record["step"])
            if "validation" in record:
                writer.flush()

        yield write


@contextmanager
def _trackio(folder: Path) -> Iterator[Report]:
    """A run of the folder's name, on this machine: what trackio would send elsewhere is for its own settings to say."""
    try:
        import trackio
    except ImportError as error:
        raise InputError("trackio is not installed. Run: pip install 'davsp[trackio]'") from error
    with redirect_stdout(sys.stderr):
        run = trackio.init(project=PROJECT, name=folder.resolve().name, resume="allow", embed=False)
    try:
        yield lambda record: run.log(_named(record), step=int(record["step"]))
    finally:
        with redirect_stdout(sys.stderr):
            run.finish()


def _named(record: Record) -> dict[str, float]:
    """The values of a record, after the stage that they are of: "training/loss"."""
    stage = "validation" if "validation" in record else "training"
    return {f"{stage}/{name}": value for name, value in record.get("validation", record).items() if name != "step"}
