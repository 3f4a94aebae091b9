"""The wings stand in the order in which a query travels, and each knows only those before it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import davsp

PACKAGE = Path(davsp.__file__).parent
TREE = Path(__file__).parents[1] / "docs" / "architecture.md"
DOORS = {"__init__", "__main__"}


def wings() -> list[str]:
    """The wings and modules of the tree in docs/architecture.md, in its order."""
    listed = re.search(r"^src/davsp/\n(.*?)^```", TREE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert listed, f"{TREE} shows no tree of src/davsp/"
    return re.findall(r"^  (\w+)(?:\.py|/)", listed[1], re.MULTILINE)


def test_the_tree_in_the_documents_is_the_tree_there_is() -> None:
    found = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    assert found - DOORS == set(wings())


def test_every_wing_knows_only_those_above_it() -> None:
    order = wings()
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if own not in DOORS:
            below = set(order[order.index(own) + 1 :])
            wrong += [f"{path.relative_to(PACKAGE)} imports {name}" for name in sorted(set(_imported(path)) & below)]
    assert not wrong


def _imported(path: Path) -> Iterator[str]:
    """The first names under `davsp` that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "davsp":
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("davsp."):
            yield (node.module or "").split(".")[1]
