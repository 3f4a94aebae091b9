"""`make fuzz`: many malformed inputs through every door, and a table of what became of them."""

from __future__ import annotations

import argparse
import secrets
import sys
import time

from tests.fuzz.doors import DOORS
from tests.fuzz.fuzzing import put_through

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--count", type=int, default=200, help="Inputs for each door.")
parser.add_argument("--seed", type=int, default=None, help="Chooses them; by default another one each time.")
parser.add_argument("--door", choices=list(DOORS), action="append", help="These doors alone.")
arguments = parser.parse_args()
number = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
print(f"seed {number}")
faults: list[str] = []
total = 0
for name in arguments.door or DOORS:
    began = time.monotonic()
    tally = put_through(DOORS[name], max(1, round(arguments.count * DOORS[name].share)), number)
    total += tally.taken + tally.refused + len(tally.faults)
    print(f"{name:24} {tally}, {len(tally.faults)} faults, {time.monotonic() - began:.0f} s", flush=True)
    faults += [f"{name}: {fault}" for fault in tally.faults]
print(f"{total} inputs, {len(faults)} faults")
for fault in faults[:20]:
    print(f"\n{fault}", file=sys.stderr)
sys.exit(bool(faults))
