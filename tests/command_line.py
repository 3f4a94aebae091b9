"""The command line as a user meets it, run within the tests."""

from __future__ import annotations

import sys

import pytest

from davsp.cli import main


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    """Run `davsp` with these arguments; give its status, what it printed, and what it said on stderr."""
    monkeypatch.setattr(sys, "argv", ["davsp", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err
