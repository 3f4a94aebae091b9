"""How experiments are run as commands."""

from __future__ import annotations

import sys
from collections.abc import Callable

from davsp.util.failures import ending_in_a_line


def as_command(experiment: Callable[[], None]) -> None:
    """Run an experiment. Errors on purpose, and of files, become one message and status 2; Ctrl-C becomes 130."""
    with ending_in_a_line():
        try:
            experiment()
        except KeyboardInterrupt:
            print("\nStopped: the same command goes on.", file=sys.stderr)
            sys.exit(130)
