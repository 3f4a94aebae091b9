"""Reference answers that are several: `<OR>` stands between texts each of which is right, `<AND>` between parts that
must all be there. MM-Vet (Yu et al. 2024) writes them so."""

from __future__ import annotations

import re
from collections.abc import Iterable

OR, AND = "<OR>", "<AND>"


def alternatives(reference: str) -> list[list[str]]:
    """The texts that are right, each as its parts; blank ones are left out."""
    return [parts for text in reference.split(OR) if (parts := [p.strip() for p in text.split(AND) if p.strip()])]


def joined(references: Iterable[object]) -> str:
    """One reference of a list of right answers."""
    return f" {OR} ".join(str(reference) for reference in references)


def as_answer(reference: str) -> str:
    """The reference as a model would say it: its first alternative, whose parts are joined by "and"."""
    first = next(iter(alternatives(reference)), [])
    return " and ".join(first) if re.search(f"{OR}|{AND}", reference) else reference
