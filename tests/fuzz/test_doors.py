"""A few malformed inputs through every door; `make fuzz` takes a thousand and more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.doors import DOORS
from tests.fuzz.fuzzing import put_through, write_files

COUNT = 40


@pytest.mark.slow
@pytest.mark.parametrize("name", DOORS)
def test_what_is_whole_is_taken(name: str, tmp_path: Path) -> None:
    door = DOORS[name]
    write_files(tmp_path, door.files())
    door.enter(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", DOORS)
def test_what_is_malformed_is_refused_in_words(name: str) -> None:
    door = DOORS[name]
    tally = put_through(door, round(COUNT * door.share), 0)
    assert not tally.faults, f"{tally}, {len(tally.faults)} faults, the first:\n{tally.faults[0]}"
    # Whatever a server says, the answer is unscored; a benchmark drops the records that it cannot use.
    assert tally.refused > 0 or door.share < 0.5
