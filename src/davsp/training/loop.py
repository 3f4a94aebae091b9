"""The loop of everything that is fitted: steps, a log, Ctrl-C, and going on from where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

import torch

from davsp.errors import ArtefactError, InputError
from davsp.training.run_state import METRICS, STATE, Interrupted, Record, interruptible, read_metrics, saved_state
from davsp.util.files import append_line, make_folder, replacing
from davsp.util.processes import processes
from davsp.util.progress import bar


class Fitting(Protocol):
    """Something that is fitted in steps, each a function of its number and the state before it."""

    steps: int

    def step(self, number: int) -> Record:
        """Do step `number`, from 0, and return what is to be logged of it."""

    def state(self) -> Record:
        """What `restore` needs: tensors, numbers, texts, and lists and dicts of them."""

    def restore(self, state: Record) -> None:
        """Take a state over."""

    def identity(self) -> Record:
        """What must be equal for a saved state to be gone on with."""


def run(fitting: Fitting, folder: Path, *, title: str, save_every: int = 50, quiet: bool = False) -> Record:
    """Do all steps, going on from the state saved in `folder`; every step's record goes into metrics.jsonl there.

    Returns the last step's record, and its number as "step".

    Raises Interrupted after Ctrl-C, once the step in work is done and the state is saved; ArtefactError when the saved
    state is damaged or of another run; InputError in a run of several processes.
    """
    if processes().count > 1:
        raise InputError("`davsp fit` runs in one process: start it without a launcher.")
    make_folder(folder)
    done = 0
    if (saved := saved_state(folder, fitting.identity, torch.device("cpu"))) is not None:
        fitting.restore(saved["state"])
        done = int(saved["step"])
    with bar(title, fitting.steps, quiet=quiet) as advance, interruptible() as interrupted:
        advance(done)
        while done < fitting.steps:
            record = {"step": done + 1, **fitting.step(done)}
            done += 1
            append_line(folder / METRICS, json.dumps(record))
            advance(1)
            stop = interrupted()
            if stop or done % save_every == 0 or done == fitting.steps:
                _save(fitting, folder, done)
            if stop and done < fitting.steps:
                raise Interrupted(done)
    if not (records := read_metrics(folder)):
        raise ArtefactError(f"{folder} has lost its {METRICS}: delete the folder to start again.")
    return records[-1]


def _save(fitting: Fitting, folder: Path, done: int) -> None:
    with replacing(folder / STATE) as partial:
        torch.save({"step": done, "identity": fitting.identity(), "state": fitting.state()}, partial)
