"""`python -m tests.fuzz.kills`: commands killed at random moments, again and again, until they are through.

Each must go on to the result of one that was never killed, and leave nothing else behind.
"""

from __future__ import annotations

import argparse
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.commands import COMMANDS, Command, finish, left_behind, prepare, start


def kill_again_and_again(
    command: Command, given: Path, out: Path, most: int, rng: random.Random, usual: float
) -> tuple[int, float]:
    """Kill a command at random moments, each time going on, and let it end at last.

    How often it was killed, at most `most` times, and its usual time, which is corrected where it was over before.
    """
    kills = 0
    while kills < most:
        began, process = time.monotonic(), start(command, given, out)
        try:
            process.communicate(timeout=rng.uniform(0.3, 1.0) * usual)
            usual = min(usual, time.monotonic() - began)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
    finish(command, given, out)
    return kills, usual


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="Kills, of all commands together.")
    parser.add_argument("--command", choices=list(COMMANDS), action="append", help="Of these commands alone.")
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    names = arguments.command or list(COMMANDS)
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    print(f"seed {seed}")
    rng, faults, kills_each, chain = random.Random(seed), 0, -(-arguments.count // len(names)), 5
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        given = prepare(folder)
        for which in names:
            command = COMMANDS[which]
            usual = finish(command, given, folder / f"{which}-whole" / "result")
            whole = command.result(folder / f"{which}-whole" / "result")
            done = 0
            problems: list[str] = []
            while done < kills_each:
                out = folder / f"{which}-cut" / "result"
                try:
                    kills, usual = kill_again_and_again(command, given, out, min(chain, kills_each - done), rng, usual)
                    done += kills
                    if command.result(out) != whole:
                        problems.append("another result")
                    problems += left_behind(given, out)
                except RuntimeError as error:
                    problems.append(str(error))
                    break
                shutil.rmtree(out, ignore_errors=True)
            faults += len(problems)
            print(f"{which:10} {done} kills, {len(problems)} faults, {usual:.1f} s a whole run")
            for problem in problems:
                print(f"    {problem}")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
