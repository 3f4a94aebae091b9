"""How much a command tells on its way. Results, warnings and errors are told in any case."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class Verbosity(IntEnum):
    QUIET = 0
    """No progress, and no remarks."""
    NORMAL = 1
    VERBOSE = 2
    """Also what the libraries in use log, and where an error came from."""


_now = Verbosity.NORMAL


def verbosity() -> Verbosity:
    """What the command that runs was asked to tell."""
    return _now


@contextmanager
def telling(level: Verbosity) -> Iterator[None]:
    """Tell so much while the block lasts."""
    global _now
    before, logged = _now, logging.getLogger().level
    _now = level
    if level is Verbosity.VERBOSE:
        logging.basicConfig(format="%(name)s: %(message)s")
        logging.getLogger().setLevel(logging.INFO)
    try:
        yield
    finally:
        _now = before
        logging.getLogger().setLevel(logged)
