"""What failed, in one line for users."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from davsp.errors import DavspError


@contextmanager
def ending_in_a_line(rank: int = 0) -> Iterator[None]:
    """End the program with status 2 and one message, which names a process after the first, where the block raises an
    error that is made for users, or one of files."""
    try:
        yield
    except DavspError as error:
        told = f"Error in process {rank}: {error}" if rank else f"Error: {error}"
    except OSError as error:
        told = f"Error: {str(error.filename)[:200]}: {error.strerror}." if error.filename else f"Error: {error}."
    else:
        return
    print(told, file=sys.stderr)
    sys.exit(2)


def cause_of(error: Exception) -> Exception:
    """What the provider said, when Inspect raised an error: that of the last try."""
    from tenacity import RetryError

    last = error.last_attempt.exception() if isinstance(error, RetryError) else error
    # Inspect wraps what a provider raised in an error of its own, whose class it does not publish.
    cause = last.__cause__ if last is not None and type(last).__name__ == "ModelGenerateError" else last
    return cause if isinstance(cause, Exception) else error


def reason(error: BaseException) -> str:
    """The first line of an error's message, or its kind where it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def first_line(error: Exception) -> str:
    """An error in one line: its kind, and its message's first line where it has one."""
    kind = type(error).__name__
    return f"{kind}: {reason(error)[:300]}" if str(error).strip() else kind


def in_one_line(error: Exception) -> str:
    """All that Inspect says is missing, without the marks for bold and blue."""
    return re.sub(r"\[/?\w*\]", "", " ".join(str(error).split())).removeprefix("ERROR: ")[:500]
