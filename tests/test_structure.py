"""The README's list of modules, which a reader goes by, is the order in which they know each other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import davsp

PACKAGE = Path(davsp.__file__).parent
README = Path(__file__).parents[1] / "README.md"
GROUND = {"__init__", "__main__", "errors", "files", "progress", "refusal_languages"}
"""What needs no place in the list: the doors, and what all may use."""


def test_every_module_knows_only_those_above_it_in_the_readme() -> None:
    listed = re.search(r"^src/davsp/\n(.*?)^tests/", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert listed
    order = re.findall(r"^  (\w+)(?:\.py|/) ", listed[1], re.MULTILINE)
    modules = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    assert modules - GROUND == set(order)
    for path in PACKAGE.rglob("*.py"):
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if own not in GROUND:
            below = order[order.index(own) + 1 :]
            assert not set(_imported(path)) & set(below), f"{path} imports what stands below it"


def _imported(path: Path) -> Iterator[str]:
    """The first names under `davsp` that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "davsp":
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("davsp."):
            yield (node.module or "").split(".")[1]
