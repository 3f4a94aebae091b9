"""What can go wrong, as a user sees it.

    DavspError
    ├── InputError       a file, image, question or option is not usable
    │   └── BadRecords   some records of a query file are not usable; names each of them
    ├── ModelError       a model cannot be loaded, or is of an unsupported family
    │   └── BlockedRequest   a service refused to put a request to its model
    ├── ArtefactError    a saved vector, prompt or checkpoint is damaged, too new, or does not fit the model
    └── StorageError     a result cannot be written

Every message says what was wrong, where, and what to do. The command line prints it without a traceback and
exits with status 2.
"""

from __future__ import annotations

from collections.abc import Sequence


class DavspError(Exception):
    """Base of all errors that davsp raises on purpose."""


class InputError(DavspError):
    """A file, image, question or option is not usable."""


class BadRecords(InputError):  # noqa: N818 - a plural reads better than BadRecordsError
    """Some records of a query file are not usable. `problems` has one line for each."""

    def __init__(self, problems: Sequence[str], advice: str) -> None:
        self.problems = tuple(problems)
        shown = "\n".join(f"  {p}" for p in self.problems[:20])
        more = f"\n  ... and {len(self.problems) - 20} more" if len(self.problems) > 20 else ""
        super().__init__(f"{len(self.problems)} bad record(s):\n{shown}{more}\n{advice}")


class ModelError(DavspError):
    """A model cannot be loaded, or is of an unsupported family."""


class BlockedRequest(ModelError):  # noqa: N818 - nothing went wrong: it is an answer of the service
    """A service refused to put a request to its model, or to give out the answer. The message is its own."""


class ArtefactError(DavspError):
    """A saved vector, prompt or checkpoint is damaged, too new, or does not fit the model."""


class StorageError(DavspError):
    """A result cannot be written."""


MALFORMED = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What reading a record raises that lacks what others have, or has it in another form."""
