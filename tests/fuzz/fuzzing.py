"""Putting many malformed inputs through a door: each must be taken, or refused in words."""

from __future__ import annotations

import tempfile
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from davsp.errors import DavspError
from tests.fuzz.doors import Door, Files


@dataclass
class Tally:
    """What became of the inputs; `faults` are those that ended in anything but a clear error, with the traceback."""

    taken: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.taken + self.refused + len(self.faults)} inputs: {self.taken} taken, {self.refused} refused"


def write_files(folder: Path, files: Files) -> None:
    """Write files by their relative names."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def put_through(door: Door, count: int, number: int) -> Tally:
    """Put `count` damaged inputs through a door, chosen by the seed `number`; a fault does not stop the others."""
    tally, files = Tally(), door.files()

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(change=door.damage(files))
    def each(change: tuple[str, bytes]) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "folder"
            write_files(folder, {**files, change[0]: change[1]})
            before = {path for path in folder.rglob("*") if path.suffix == ".partial"}
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    door.enter(folder)
                tally.taken += 1
            except DavspError as error:
                tally.refused += 1
                if not str(error).strip() or "Traceback" in str(error):
                    tally.faults.append(f"{change[0]}: an error without words: {error!r}")
            except Exception:
                tally.faults.append(f"{change[0]}: {change[1][:300]!r}\n{traceback.format_exc(limit=-6)}")
            if {path for path in folder.rglob("*") if path.suffix == ".partial"} != before:
                tally.faults.append(f"{change[0]}: something half-written is left")

    each()
    return tally
