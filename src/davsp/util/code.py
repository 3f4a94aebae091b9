"""Which code of davsp is at work."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

WINGS = ("imaging", "data", "prompts", "models", "judges", "defences", "benchmarks", "evaluation")
"""What answers and verdicts depend on."""


@cache
def code_digest() -> str:
    """A hex digest of the source of WINGS, and of the weights beside it: answers that other code gave are not taken for
    this one's."""
    package = Path(__file__).parents[1]
    total = hashlib.sha256()
    for wing in WINGS:
        for path in sorted(path for path in (package / wing).rglob("*") if path.suffix in (".py", ".json")):
            total.update(f"{path.relative_to(package)}\0".encode())
            total.update(path.read_bytes())
    return total.hexdigest()
