"""`python -m experiments.seeds RUN RUN ...`: the results of several `davsp demo` or `davsp evaluate` runs, one a seed,
as tables.

Each cell is the mean over the seeds and, in brackets, the lowest and the highest of them, in percent. A rate that left
samples unscored is marked with the number of them.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from davsp.judges.rates import pooled

COSTS = {
    "calls": "calls",
    "tokens read": "input_tokens",
    "tokens written": "output_tokens",
    "helper calls": "helper_calls",
    "seconds": "seconds",
}


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
            cells = [_cell([[rates[kind]] for rates in found]) for kind in kinds]
            print(f"| {name} | {' | '.join(cells)} | {_cell([list(rates.values()) for rates in found])} |")
        print()
    if all("cost" in run for run in runs):
        print(f"| cost of a query | {' | '.join(COSTS)} |\n|{'---|' * (len(COSTS) + 1)}")
        for name in runs[0]["defences"]:
            cells = [_amounts([run["cost"][name][key] for run in runs]) for key in COSTS.values()]
            print(f"| {name} | {' | '.join(cells)} |")


def _amounts(values: list[float | None]) -> str:
    """Mean [lowest, highest] of what is told."""
    told = [value for value in values if value is not None]
    if not told:
        return "not told"
    return f"{statistics.mean(told):.3g} [{min(told):.3g}, {max(told):.3g}]"


def _cell(runs: list[list[dict[str, Any]]]) -> str:
    """Mean [lowest, highest] over the runs of each run's rates, pooled."""
    found = [rate for rates in runs if (rate := pooled(rates)) is not None]
    shares = [100 * rate.rate for rate in found if rate.rate is not None]
    unscored = sum(rate.unscored for rate in found)
    mark = f" ({unscored} unscored)" if unscored else ""
    if not shares:
        return f"no score{mark}"
    return f"{statistics.mean(shares):.1f} [{min(shares):.1f}, {max(shares):.1f}]{mark}"


if __name__ == "__main__":
    main(sys.argv[1:])
