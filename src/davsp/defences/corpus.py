"""Corpora: sentences that a perturbation is to make a model say, or not to say."""

from __future__ import annotations

from pathlib import Path

from davsp.data.records import read_text
from davsp.errors import InputError

MAX_BYTES = 16 * 2**20
HARMFUL_SENTENCES = "harmful sentences"
SECURITY_INSTRUCTIONS = "security instructions"


def read_corpus(file: Path) -> list[str]:
    """The sentences of a UTF-8 text file, one a line; blank lines do not count.

    Raises InputError where there are none, or the file is larger than MAX_BYTES or cannot be read.
    """
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InputError(f"{file} is larger than {MAX_BYTES // 2**20} MiB. Give fewer sentences.")
    except OSError as error:
        raise InputError(f"cannot read the corpus {file}: {error.strerror}. Check the path.") from error
    sentences = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    if not sentences:
        raise InputError(f"{file} holds no sentence. Give one a line.")
    return sentences
