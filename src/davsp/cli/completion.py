"""What the shell completes: names that davsp knows, and folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from davsp.attacks import ATTACKS
from davsp.defences import DEFENCES
from davsp.models.shipped import SHIPPED

FITTED = ("adashield-a", "alarm", "esiii", "gate", "pat", "uniguard")
TABLES = ("table1", "table2")
"""What the modules of these say too: to import them takes seconds, for which no shell waits."""


def models(incomplete: str) -> list[str]:
    """Shipped models, and folders."""
    return _names(SHIPPED, incomplete) + _folders(incomplete)


def defences(incomplete: str) -> list[str]:
    """Defences by name, and folders."""
    return _names(DEFENCES.names(), incomplete) + _folders(incomplete)


def attacks(incomplete: str) -> list[str]:
    """Attacks by name."""
    return _names(ATTACKS.names(), incomplete)


def fitted(incomplete: str) -> list[str]:
    """Defences that `davsp fit` makes."""
    return _names(FITTED, incomplete)


def tables(incomplete: str) -> list[str]:
    """The tables that `davsp reproduce` makes."""
    return _names(TABLES, incomplete)


def benchmark_names(incomplete: str) -> list[str]:
    """Benchmarks by name alone."""
    from davsp.benchmarks import BENCHMARKS

    return _names(BENCHMARKS.names(), incomplete)


def benchmarks(incomplete: str) -> list[str]:
    """Benchmarks by name; after NAME=, folders of files."""
    from davsp.benchmarks import BENCHMARKS

    name, equals, folder = incomplete.partition("=")
    if equals:
        return [f"{name}={found}" for found in _folders(folder)]
    return _names(BENCHMARKS.names(), incomplete)


def _names(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))


def _folders(incomplete: str) -> list[str]:
    start = incomplete.rpartition("/")[2]
    above = incomplete.removesuffix(start)
    try:
        inside = sorted(path.name for path in Path(above or ".").iterdir() if path.is_dir())
    except OSError:
        return []
    return [f"{above}{name}/" for name in inside if name.startswith(start) and (start or name[0] != ".")]
