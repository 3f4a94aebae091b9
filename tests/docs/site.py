"""The documentation as it is built, and what stands in its pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
"""Where a user reads."""
_FENCE = re.compile(r"^```(\w*)(?: title=\"[^\"\n]+\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^```\w+ title=\"([^\"\n]+)\"\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")


class HtmlPage(HTMLParser):
    """The anchors of a built page, its links, and what a browser loads on its own to show it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors, self.links, self.loaded = set[str](), list[str](), list[str]()
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value is not None}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag in ("a", "area"):
            self.links += [values["href"]] if "href" in values else []
            return
        if tag == "link" and values.get("rel") in ("prev", "next", "canonical", "edit"):
            self.links.append(values["href"])
            return
        loading = ("src", "srcset", "href", "data", "poster", "xlink:href")
        self.loaded += [values[name] for name in loading if name in values]
        self.loaded += re.findall(r"url\(([^)]*)\)", values.get("style", ""))


def code_blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a Markdown page in one language, "" for those of commands and files."""
    return [text for named, text in _FENCE.findall(page.read_text("utf-8")) if named == language]


def named_files(page: Path) -> dict[str, str]:
    """The fenced blocks of a Markdown page that are files of a name, by it."""
    return dict(_FILE.findall(page.read_text("utf-8")))


def command_lines(page: Path) -> Iterator[str]:
    """Every line of a page that a user may type, continued lines in one: in blocks, and in the text."""
    for block in code_blocks(page, ""):
        yield from block.replace("\\\n", " ").splitlines()
    for written in _INLINE.findall(_FENCE.sub("", page.read_text("utf-8"))):
        yield " ".join(written.split())
