"""`python -m experiments.seeds RUN RUN ...`: the results of several `davsp demo` or `davsp evaluate` runs, one a seed,
as tables.

Each cell is the mean over the seeds and, in brackets, the lowest and the highest of them, in percent. A rate that left
samples unscored is marked with the number of them.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from davsp.judges.rates import pooled
from davsp.rates import Measure, Rate
from davsp.results import read_results
from experiments.running import as_command


def main(folders: list[str]) -> None:
    runs = [read_results(Path(folder)) for folder in folders]
    n = {rate.n for run in runs for rates in run.defences.values() for rate in rates.rsr.values()}
    print(f"Seeds {', '.join(str(run.seed) for run in runs)}; N = {', '.join(map(str, sorted(n)))} a kind and seed.\n")
    for measure in Measure:
        kinds = list(runs[0].defences["none"][measure])
        if not kinds:
            continue
        print(f"| {measure} | {' | '.join(kinds)} | all |\n|{'---|' * (len(kinds) + 2)}")
        for name in runs[0].defences:
            by_run = [run.defences[name][measure] for run in runs]
            cells = [_cell([[rates[kind]] for rates in by_run]) for kind in kinds]
            print(f"| {name} | {' | '.join(cells)} | {_cell([rates.values() for rates in by_run])} |")
        print()
    if all(run.cost for run in runs):
        print(f"| cost of a query | calls | tokens read | tokens written | helper calls | seconds |\n|{'---|' * 6}")
        for name in runs[0].defences:
            costs = [run.cost[name] for run in runs]
            cells = [
                _amounts([cost.calls for cost in costs]),
                _amounts([cost.input_tokens for cost in costs]),
                _amounts([cost.output_tokens for cost in costs]),
                _amounts([cost.helper_calls for cost in costs]),
                _amounts([cost.seconds for cost in costs]),
            ]
            print(f"| {name} | {' | '.join(cells)} |")


def _amounts(values: Sequence[float | None]) -> str:
    """Mean [lowest, highest] of what is known."""
    known = [value for value in values if value is not None]
    if not known:
        return "not told"
    return f"{statistics.mean(known):.3g} [{min(known):.3g}, {max(known):.3g}]"


def _cell(runs: Iterable[Iterable[Rate]]) -> str:
    """Mean [lowest, highest] over the runs of each run's rates, pooled."""
    by_run = [rate for rates in runs if (rate := pooled(rates)) is not None]
    shares = [100 * rate.rate for rate in by_run if rate.rate is not None]
    unscored = sum(rate.unscored for rate in by_run)
    mark = f" ({unscored} unscored)" if unscored else ""
    if not shares:
        return f"no score{mark}"
    return f"{statistics.mean(shares):.1f} [{min(shares):.1f}, {max(shares):.1f}]{mark}"


if __name__ == "__main__":
    as_command(lambda: main(sys.argv[1:]))
