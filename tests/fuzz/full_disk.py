"""`python -m tests.fuzz.full_disk`: commands whose disk is full at one write or another (needs root, to mount a tmpfs).

Each must say so in a line, leave no half-written file, and go on to its result once there is room.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fuzz.commands import COMMANDS, finish, left_behind, prepare, start

SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)
"""How much of what a command writes there is room for."""
PAGE = 4096


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A disk of so many bytes."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={max(size, PAGE)}", "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def main() -> int:
    faults = 0
    with tempfile.TemporaryDirectory(prefix="full-") as name:
        folder = Path(name)
        given = prepare(folder)
        for which, command in COMMANDS.items():
            finish(command, given, folder / f"{which}-whole" / "result")
            whole = command.result(folder / f"{which}-whole" / "result")
            needed = sum(-(-p.stat().st_size // PAGE) * PAGE for p in (folder / f"{which}-whole").rglob("*"))
            failed, problems = 0, list[str]()
            for share in SHARES:
                with small_disk(folder / f"{which}-{share}", int(share * needed)) as disk:
                    out = disk / "result"
                    process = start(command, given, out)
                    _, said = process.communicate(timeout=600)
                    text = said.decode()
                    failed += process.returncode != 0
                    if process.returncode not in (0, 2) or "Traceback" in text:
                        problems.append(f"{share:.0%} of {needed}: status {process.returncode}: {text[-1500:]}")
                    problems += left_behind(given, disk)
                    subprocess.run(["mount", "-o", "remount,size=512m", str(disk)], check=True)
                    try:
                        finish(command, given, out)
                        if command.result(out) != whole:
                            problems.append(f"{share:.0%}: another result")
                    except RuntimeError as error:
                        problems.append(f"{share:.0%}: it does not go on: {error}")
            faults += len(problems)
            print(f"{which:10} {len(SHARES)} small disks, full {failed} times, {len(problems)} faults", flush=True)
            for problem in problems:
                print(f"    {problem}")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
