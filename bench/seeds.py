"""`python -m bench.seeds RUN RUN ...`: the results of several `davsp demo` runs, one a seed, as the README's tables.

Each cell is the mean over the seeds and, in brackets, the lowest and the highest of them, in percent. A rate that left
samples unscored is marked with the number of them.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Rates = dict[str, dict[str, Any]]


def main(folders: list[str]) -> None:
    runs = [json.loads((Path(folder) / "results.json").read_text("utf-8")) for folder in folders]
    n = {rate["n"] for run in runs for defence in run["defences"].values() for rate in defence["rsr"].values()}
    print(
        f"Seeds {', '.join(str(run['seed']) for run in runs)}; N = {', '.join(map(str, sorted(n)))} a kind and seed.\n"
    )
    for table in ("rsr", "benign_accuracy", "over_refusal"):
        kinds = list(runs[0]["defences"]["none"][table])
        print(f"| {table} | {' | '.join(kinds)} | all |\n|{'---|' * (len(kinds) + 2)}")
        for name in runs[0]["defences"]:
            found = [run["defences"][name][table] for run in runs]
            cells = [_cell(found, lambda rates, kind=kind: [rates[kind]]) for kind in kinds]
            print(f"| {name} | {' | '.join(cells)} | {_cell(found, lambda rates: list(rates.values()))} |")
        print()


def _cell(runs: list[Rates], choose: Callable[[Rates], list[dict[str, Any]]]) -> str:
    """Mean [low, high] over the runs of the pooled rate of the chosen kinds."""
    shares = []
    for rates in runs:
        chosen = choose(rates)
        shares.append(100 * sum(r["rate"] * r["n"] for r in chosen) / sum(r["n"] for r in chosen))
    unscored = sum(r["unscored"] for rates in runs for r in choose(rates))
    mark = f" ({unscored} unscored)" if unscored else ""
    return f"{statistics.mean(shares):.1f} [{min(shares):.1f}, {max(shares):.1f}]{mark}"


if __name__ == "__main__":
    main(sys.argv[1:])
