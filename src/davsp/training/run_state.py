"""The saved state of a run: its log, Ctrl-C, and going on from where it stopped."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from davsp.errors import MALFORMED, ArtefactError
from davsp.util.files import check_same_run, load_tensors, parse_json, write_text
from davsp.util.processes import processes

Record = dict[str, Any]
"""What is logged or saved: numbers by name; in a state also tensors, and lists and dicts of them."""

STATE = "state.pt"
METRICS = "metrics.jsonl"
_RENAMED = {"falling": "cosine_decay"}
"""Training options that had another name in davsp 0.1.0."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training, after the state was saved. `step`: steps done."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Hold the first Ctrl-C back; gives the function that tells whether it came. A second one stops at once.

    Outside the main thread, where no signal arrives, nothing is held back.
    """
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return
    previous = signal.getsignal(signal.SIGINT)

    def hold(number: int, frame: object) -> None:  # noqa: ARG001
        pressed.set()
        if processes().count == 1:  # a launcher passes on the Ctrl-C that its processes have already got
            signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, hold)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, previous)


def load_state(folder: Path, identity: Callable[[], Record]) -> Record | None:
    """The state saved in a folder: "step", how many are done, and "state"; None before the first is saved.

    Its tensors are on the CPU. Metrics written after it are dropped. `identity` tells what must be equal for the state
    to be resumed. Raises ArtefactError when the state is damaged or of another run.
    """
    path = folder / STATE
    if not path.exists():
        if processes().is_main:
            (folder / METRICS).unlink(missing_ok=True)
        return None
    try:
        saved: Record = load_tensors(path)
        if "state" not in saved:
            saved = _nested(saved)
        if not (isinstance(saved["step"], int) and isinstance(saved["identity"], dict)):
            raise ValueError("it has no number of steps, or no identity")
    except MALFORMED as error:
        raise ArtefactError(f"{path} is damaged: delete it to start again.") from error
    check_same_run(folder, "another run", saved["identity"], identity(), added=("weights", "aim"))
    if processes().is_main:
        kept = [r for r in read_metrics(folder) if r["step"] <= saved["step"]]
        write_text(folder / METRICS, "".join(json.dumps(r) + "\n" for r in kept))
    return saved


def _nested(flat: Record) -> Record:
    """The state of a border as davsp 0.1.0 wrote it, all on one level, in today's form."""
    state = {name: value for name, value in flat.items() if name not in ("step", "identity")}
    configs = [{_RENAMED.get(k, k): v for k, v in config.items()} for config in flat["identity"]["config"]]
    return {"step": flat["step"], "identity": {**flat["identity"], "config": configs}, "state": state}


def read_metrics(folder: Path) -> list[Record]:
    """The records of a training run, one for each step and one for each validation; [] before the first.

    A last line cut short by a kill is left out. Raises ArtefactError for any other that is damaged.
    """
    path = folder / METRICS
    if not path.exists():
        return []
    try:
        lines = path.read_text("utf-8").splitlines(keepends=True)
        records = [parse_json(line) for line in lines if line.endswith("\n")]
        if not all(isinstance(record, dict) and isinstance(record.get("step"), int) for record in records):
            raise ValueError("a record has no step")
        return records
    except ValueError as error:
        raise ArtefactError(f"{path} is damaged ({error}): delete it, or start again in another folder.") from error
