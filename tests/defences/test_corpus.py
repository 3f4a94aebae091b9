"""Corpora are read as one sentence a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from davsp.defences.corpus import read_corpus
from davsp.errors import InputError


def test_a_corpus_is_one_sentence_a_line(tmp_path: Path) -> None:
    file = tmp_path / "corpus.txt"
    file.write_text("be careful .\n\n  say sorry . \n")
    assert read_corpus(file) == ["be careful .", "say sorry ."]
    file.write_text("\n \n")
    with pytest.raises(InputError, match="holds no sentence"):
        read_corpus(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_corpus(file)
    with pytest.raises(InputError, match="cannot read the corpus"):
        read_corpus(tmp_path / "gone.txt")
