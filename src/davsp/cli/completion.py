"""What the shell completes: names that davsp knows, and folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from davsp.attacks import ATTACKS
from davsp.defences import DEFENCES
from davsp.models.shipped import SHIPPED


def models(incomplete: str) -> list[str]:
    """Shipped models, and folders."""
    return _names(SHIPPED, incomplete) + _folders(incomplete)


def defences(incomplete: str) -> list[str]:
    """Defences by name, and folders."""
    return _names(DEFENCES.names(), incomplete) + _folders(incomplete)


def attacks(incomplete: str) -> list[str]:
    """Attacks by name."""
    return _names(ATTACKS.names(), incomplete)


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
