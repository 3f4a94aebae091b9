"""Published benchmarks: their queries, and their official scores.

from davsp.benchmarks import load

loaded = load("figstep", "data/figstep", "tiny")
loaded.queries, loaded.dropped, loaded.notes
"""

from __future__ import annotations

from pathlib import Path

from davsp.benchmarks.base import Benchmark, LoadedQueries, Purpose
from davsp.util.registry import Registry

__all__ = ["BENCHMARKS", "every_benchmark", "load"]

BENCHMARKS: Registry[Benchmark] = Registry("davsp.benchmarks", "benchmark", Benchmark)


def load(name: str, folder: str | Path | None = None, variant: str | None = None) -> LoadedQueries:
    """The queries of a benchmark's variant, from a folder in its published layout, or without one from the hub.

    Raises InputError for a name, variant or folder that is not usable, and where nothing can be fetched.
    """
    return BENCHMARKS.get(name).load(None if folder is None else Path(folder), variant)


def every_benchmark() -> list[Benchmark]:
    """All benchmarks, by what they measure, then by name. Raises InputError for one that cannot be imported."""
    benchmarks = map(BENCHMARKS.get, BENCHMARKS.names())
    return sorted(benchmarks, key=lambda benchmark: (list(Purpose).index(benchmark.purpose), benchmark.name))
