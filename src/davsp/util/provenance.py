"""Where a result comes from: the command that made it, what that read its queries from, and when.

A process of `davsp` is one command. It says so when it begins, and what it reads as it reads it; whatever the process
writes then says the same. Nothing else of the machine or the person is kept.
"""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Self

from pydantic import BaseModel, ConfigDict, Field


class Provenance(BaseModel):
    """The command that made a result, and when."""

    model_config = ConfigDict(frozen=True)

    command: str | None = Field(
        default=None, description="The command line as it was typed; null where davsp was called from Python."
    )
    sources: tuple[str, ...] = Field(
        default=(), description="What the command read queries from, as it was named: files, folders, data sets."
    )
    date: str = Field(description="When it was written: ISO 8601, in UTC, to the second.")

    @classmethod
    def now(cls) -> Self:
        """Of what this process writes now."""
        command = shlex.join(["davsp", *_command.words]) if _command.is_known else None
        return cls(command=command, sources=tuple(_command.sources), date=datetime.now(UTC).isoformat("T", "seconds"))


def versions_used() -> dict[str, str]:
    """Versions of Python and of the packages that decide what a model does."""
    return {"python": platform.python_version(), **{p: version(p) for p in ("davsp", "torch", "transformers")}}


class _Command:
    """What this process was started for."""

    def __init__(self, words: Sequence[str] | None = None) -> None:
        self.is_known = words is not None
        self.words = tuple(words or ())
        self.sources: list[str] = []


_command = _Command()


@contextmanager
def running(words: Sequence[str]) -> Iterator[None]:
    """Say that this process runs `davsp` with these words while the block lasts."""
    global _command
    _command = _Command(words)
    try:
        yield
    finally:
        _command = _Command()


def reads(source: str) -> None:
    """Say that the command reads its queries from this source."""
    if _command.is_known and source not in _command.sources:
        _command.sources.append(source)
