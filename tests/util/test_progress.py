"""Progress: bars with notes on a terminal, plain lines elsewhere, nothing where it is not wanted."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from davsp.util import progress
from davsp.util.progress import bar, bars


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set."""
    now = [0.0]
    monkeypatch.setattr("davsp.util.progress.monotonic", lambda: now[0])
    return now


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=80)
    monkeypatch.setattr(progress, "Console", lambda stderr: console)
    monkeypatch.setenv("TERM", "xterm")
    return written


def test_off_a_terminal_a_line_is_said_now_and_then_and_one_at_the_end(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with bar("Training", 200) as advance:
        for second in range(1, 101):
            clock[0] = float(second)
            advance(1)
            advance.tell(f"loss {second}")
    assert capsys.readouterr().err.splitlines() == [
        "Training: 30/200, 0:00:30 gone, 0:02:50 left; loss 29",
        "Training: 60/200, 0:01:00 gone, 0:02:20 left; loss 59",
        "Training: 90/200, 0:01:30 gone, 0:01:50 left; loss 89",
        "Training: 100/200, 0:01:40 gone, 0:01:40 left; loss 100",
    ]


def test_what_was_done_before_takes_no_time(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with bar("Training", 200, done=100) as advance:
        clock[0] = 30.0
        advance(10)
    assert capsys.readouterr().err == "Training: 110/200, 0:00:30 gone, 0:04:30 left\n"
    with bar("Training", 200, done=200):
        pass
    assert capsys.readouterr().err == ""


def test_what_several_processes_count_together_is_no_more_than_there_is(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with bar("Reading", 10) as advance:
        clock[0] = 40.0
        advance(8)
        advance(8)
    assert capsys.readouterr().err.splitlines()[-1] == "Reading: 10/10, 0:00:40 gone"


def test_every_name_has_its_line_and_what_is_soon_done_has_none(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with bars(["none", "mine"], 2) as advance:
        advance["none"]()
        advance["none"]()
        clock[0] = 31.0
        advance["mine"]()
    assert capsys.readouterr().err == "mine: 1/2, 0:00:31 gone, 0:00:31 left\n"


def test_a_name_begins_where_the_one_before_it_ended(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with bars(["none", "mine"], 2) as advance:
        clock[0] = 1000.0
        advance["none"]()
        advance["none"]()
        clock[0] = 1031.0
        advance["mine"]()
        clock[0] = 1050.0
        advance["mine"]()
    assert capsys.readouterr().err.splitlines() == [
        "none: 1/2, 0:16:40 gone, 0:16:40 left",
        "none: 2/2, 0:16:40 gone",
        "mine: 1/2, 0:00:31 gone, 0:00:31 left",
        "mine: 2/2, 0:00:50 gone",
    ]


def test_on_a_terminal_there_is_a_bar_and_the_note_below_it(terminal: io.StringIO) -> None:
    with bar("Training [x]", 4) as advance:
        advance(4)
        advance.tell("loss 0.5 " * 30)
    shown = terminal.getvalue()
    assert "Training [x]" in shown and "4/4" in shown and "loss 0.5" in shown and "…" in shown


def test_nothing_is_shown_where_that_is_not_wanted(capsys: pytest.CaptureFixture[str], terminal: io.StringIO) -> None:
    with bar("Training", 4, quiet=True) as advance:
        advance(4)
        advance.tell("loss 0.5")
    assert capsys.readouterr().err == "" and terminal.getvalue() == ""
