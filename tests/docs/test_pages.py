"""What users read: the README is short, and no page names what there is not."""

from __future__ import annotations

import ast
import importlib.util
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.docs.site import PAGES, ROOT, code_blocks, command_lines

README = ROOT / "README.md"
BASES = (ROOT, ROOT / "src", ROOT / "src" / "davsp")
"""Where a path in a page begins."""
OURS = tuple({f"{path.name}/" for base in BASES for path in base.iterdir() if path.is_dir()})
named_after_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def test_the_readme_is_short() -> None:
    assert len(README.read_text("utf-8").split()) <= 1000


def test_the_readme_has_one_table() -> None:
    assert len(re.findall(r"^\|[-|]+\|$", README.read_text("utf-8"), re.MULTILINE)) == 1


def test_the_readme_s_links_exist() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README.read_text("utf-8"))
    local = [link for link in links if not link.startswith("https://")]
    assert len(local) > 10
    assert [link for link in local if not (ROOT / link.partition("#")[0]).exists()] == []


def test_the_readme_s_figures_are_those_of_the_results() -> None:
    results, readme = (path.read_text("utf-8") for path in (ROOT / "docs" / "results.md", README))
    section = results.partition("## On a model that reads English")[2].partition("### ")[0]
    measured = {row[0]: row[1:] for row in _rows(section)}
    shown = {row[0]: row[1:] for row in _rows(readme)}
    assert len(shown) == 3
    for name, cells in shown.items():
        there = measured["undefended" if name == "none" else name]
        assert cells == [there[i] for i in (0, 1, 2, 5)]
    told = re.findall(r"[\d.]+ %? ?\[[\d.]+, [\d.]+\]", " ".join(readme.split()))
    flat = " ".join(results.split()).replace(" %", "")
    assert len(told) > 15 and [rate for rate in told if rate.replace(" %", "") not in flat] == []


def _rows(text: str) -> list[list[str]]:
    """The rows of tables that hold intervals."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and re.search(r"\d \[", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@named_after_page
def test_every_module_that_a_page_runs_exists(page: Path) -> None:
    modules = [name for written in command_lines(page) for name in re.findall(r"python -m ([\w.]+)", written)]
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []


@named_after_page
def test_every_file_of_the_project_in_a_page_exists(page: Path) -> None:
    named = {
        name for written in command_lines(page) for name in re.findall(r"^[\w./]+/\w+\.(?:py|json|yaml)$", written)
    }
    ours = {name for name in named if name.startswith(OURS)}
    assert [name for name in sorted(ours) if not any((base / name).is_file() for base in BASES)] == []


@named_after_page
def test_every_piece_of_python_in_a_page_is_sound(page: Path) -> None:
    for block in code_blocks(page, "python"):
        ast.parse(block)


@pytest.mark.parametrize("kind", ["models", "judges", "defences", "benchmarks"])
def test_everything_that_can_be_named_is_described(kind: str) -> None:
    page = (ROOT / "docs" / ("families.md" if kind == "models" else f"{kind}.md")).read_text("utf-8")
    named = {point.name for point in entry_points(group=f"davsp.{kind}") if point.value.startswith("davsp.")}
    assert len(named) > 4
    assert [name for name in sorted(named) if f"`{name}`" not in page] == []
