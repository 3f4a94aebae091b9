"""The mutations can be applied: what they break is there, once. `make mutation` tries whether tests notice them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutation.mutations import MUTATIONS, PACKAGE, Mutation

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_what_a_mutation_breaks_stands_there_once_and_still_parses_afterwards(mutation: Mutation) -> None:
    assert mutation.occurrences() == 1, f"adapt the mutation to {mutation.file} as it is now"
    ast.parse((PACKAGE / mutation.file).read_text("utf-8").replace(mutation.old, mutation.new))
    assert all((ROOT / test).is_file() for test in mutation.tests if test.endswith(".py"))


def test_no_two_mutations_share_a_name() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
