"""The loop of everything that is fitted: what is logged and saved when, resuming, Ctrl-C, several processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from davsp.errors import ArtefactError, InputError
from davsp.training import loop, run_state
from davsp.training.loop import Fitting, resume, run, run_steps
from davsp.training.run_state import Interrupted, Record, read_metrics
from davsp.util.processes import Processes


class Sum(Fitting):
    """Adds up the numbers of its steps; step `interrupted` is one during which the user presses Ctrl-C."""

    def __init__(self, steps: int = 7, interrupted: int = -1) -> None:
        self.steps, self.interrupted = steps, interrupted
        self.total = torch.zeros(())

    def step(self, number: int) -> Record:
        self.total += number
        if number == self.interrupted:
            os.kill(os.getpid(), signal.SIGINT)
        return {"total": self.total.item()}

    def state(self) -> Record:
        return {"total": self.total}

    def restore(self, state: Record) -> None:
        self.total = state["total"]

    def identity(self) -> Record:
        return {"steps": self.steps}


class Validated(Sum):
    """Says at each validation how many steps were done."""

    several_processes = True

    def validate(self, done: int) -> Record | None:
        return {"after": done}


def steps_of(folder: Path) -> list[int]:
    return [record["step"] for record in read_metrics(folder)]


def saved_step(folder: Path) -> int:
    return int(torch.load(folder / "state.pt", weights_only=True)["step"])


def test_every_step_is_logged_and_the_last_record_returned(tmp_path: Path) -> None:
    last = run(Sum(), tmp_path, title="", save_every=3, quiet=True)
    assert last == {"step": 7, "total": 21.0}
    assert steps_of(tmp_path) == list(range(1, 8))
    assert saved_step(tmp_path) == 7


def test_validation_comes_first_with_every_saving_and_last(tmp_path: Path) -> None:
    reported: list[tuple[int, bool]] = []

    def report(record: Record) -> None:
        reported.append((record["step"], "validation" in record))
        if "validation" in record:
            assert saved_step(tmp_path) == record["step"], "a validated state is saved before it is reported"

    last = run(Validated(), tmp_path, title="", save_every=3, quiet=True, report=report)
    assert last == {"step": 7, "total": 21.0}, "a step's record, not a validation's"
    assert reported == [(r["step"], "validation" in r) for r in read_metrics(tmp_path)]
    assert [step for step, validated in reported if validated] == [0, 3, 6, 7]
    assert read_metrics(tmp_path)[0] == {"step": 0, "validation": {"after": 0}}


@pytest.mark.parametrize("kind", [Sum, Validated])
def test_a_run_that_broke_goes_on_from_the_last_saved_state(kind: type[Sum], tmp_path: Path) -> None:
    def kill(record: Record) -> None:
        if record["step"] == 5:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(kind(), tmp_path / "cut", title="", save_every=3, quiet=True, report=kill)
    assert saved_step(tmp_path / "cut") == 3
    assert steps_of(tmp_path / "cut")[-1] == 5
    assert run(kind(), tmp_path / "cut", title="", save_every=3, quiet=True)["total"] == 21.0
    run(kind(), tmp_path / "whole", title="", save_every=3, quiet=True)
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")


@pytest.mark.parametrize("number", [0, 1, 6])
def test_ctrl_c_finishes_the_step_and_saves_it(number: int, tmp_path: Path) -> None:
    with pytest.raises(Interrupted) as stop:
        run(Sum(interrupted=number), tmp_path, title="", quiet=True)
    assert stop.value.step == saved_step(tmp_path) == number + 1
    assert run(Sum(), tmp_path, title="", quiet=True)["total"] == 21.0


def test_ctrl_c_in_any_process_stops_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class OtherStops(Processes):
        def all_gather(self, own: list[bool]) -> list[bool]:  # type: ignore[override]
            return [*own, True]

    monkeypatch.setattr(loop, "processes", lambda: OtherStops(0, 2))
    with pytest.raises(Interrupted) as stop:
        run_steps(Validated(), tmp_path, title="", save_every=3, quiet=True)
    assert stop.value.step == saved_step(tmp_path) == 1


def test_only_the_first_of_several_processes_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Second(Processes):
        def all_gather(self, own: list[bool]) -> list[bool]:  # type: ignore[override]
            return list(own)

    for module in (loop, run_state):
        monkeypatch.setattr(module, "processes", lambda: Second(1, 2))
    fitting = Validated()
    run_steps(fitting, tmp_path, title="", save_every=3, quiet=True)
    assert fitting.total == 21
    assert not list(tmp_path.iterdir())


def test_what_one_process_does_alone_is_refused_in_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "processes", lambda: Processes(0, 2))
    with pytest.raises(InputError, match="runs in one process"):
        run(Sum(), tmp_path, title="", quiet=True)


def test_nothing_is_saved_before_the_first_step_of_what_is_not_validated(tmp_path: Path) -> None:
    class Failing(Sum):
        def step(self, number: int) -> Record:
            raise InputError("no")

    with pytest.raises(InputError, match="no"):
        run(Failing(), tmp_path, title="", quiet=True)
    assert not list(tmp_path.iterdir())
    assert resume(Sum(steps=9), tmp_path) == 0, "another run can take the folder"


def test_another_runs_state_is_refused(tmp_path: Path) -> None:
    run(Sum(), tmp_path, title="", quiet=True)
    with pytest.raises(ArtefactError, match="different: steps"):
        resume(Sum(steps=9), tmp_path)


def test_a_log_that_got_lost_is_named_where_its_last_record_is_wanted(tmp_path: Path) -> None:
    run(Sum(), tmp_path, title="", quiet=True)
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(ArtefactError, match=r"has lost its metrics\.jsonl"):
        run(Sum(), tmp_path, title="", quiet=True)
    run_steps(Sum(), tmp_path, title="", save_every=3, quiet=True)


def test_a_state_on_one_level_is_read_as_davsp_0_1_0_wrote_it(tmp_path: Path) -> None:
    identity = {"steps": 7, "config": []}
    torch.save({"step": 3, "identity": identity, "total": torch.tensor(3.0)}, tmp_path / "state.pt")
    fitting = Sum()
    assert resume(fitting, tmp_path) == 3
    assert run(fitting, tmp_path, title="", quiet=True) == {"step": 7, "total": 21.0}


def test_numbers_of_the_last_step_and_validation_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("davsp.util.progress.SECONDS_BETWEEN_LINES", 0.0)
    run_steps(Validated(4), tmp_path, title="Adding", save_every=2)
    assert capsys.readouterr().err.endswith("; total 6; after 4: after 4\n")
