"""The site: built strictly and offline, whole, and with nothing in it that is loaded from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from davsp.cli import app
from davsp.training.config import TrainConfig
from tests.docs.site import ROOT, HtmlPage


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, HtmlPage]:
    return {file: HtmlPage(file) for file in sorted(site.rglob("*.html"))}


def test_every_page_is_built(site: Path, pages: dict[Path, HtmlPage]) -> None:
    written = {file.relative_to(ROOT / "docs").with_suffix(".html") for file in (ROOT / "docs").rglob("*.md")}
    assert written <= {file.relative_to(site) for file in pages}
    assert {"davsp.training", "davsp.defences"} <= {
        heading for file in pages for heading in re.findall(r'<h1 id="[^"]*">([\w.]+)', file.read_text("utf-8"))
    }


def test_every_internal_link_resolves(pages: dict[Path, HtmlPage]) -> None:
    broken = []
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or file.name == "404.html":
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            there = pages[target].anchors if target in pages else set()
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in there):
                broken.append(f"{file.name}: {link}")
    assert not broken


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, HtmlPage]) -> None:
    foreign = {f"{file.name}: {url}" for file, page in pages.items() for url in page.loaded if _is_foreign(url)}
    for sheet in site.rglob("*.css"):
        text = sheet.read_text("utf-8")
        urls = re.findall(r"""url\(\s*["']?([^)"']*)|@import\s+["']([^"']*)""", text)
        foreign |= {f"{sheet.name}: {url}" for found in urls for url in found if _is_foreign(url)}
    assert not foreign


def _is_foreign(url: str) -> bool:
    return urlsplit(url.strip()).scheme not in ("", "data") or url.strip().startswith("//")


def test_every_training_option_has_its_row(site: Path) -> None:
    page = (site / "training.html").read_text("utf-8")
    rows = [
        re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>\n<td><code>\w+</code></td>.*?</tr>", page, re.S)
    ]
    assert [row[0] for row in rows] == [f"<code>{name}</code>" for name in TrainConfig.model_fields]
    assert all(len(row) == 4 and row[3] for row in rows)
    assert ["<code>steps</code>", "<code>60</code>", "<code>1200</code>"] in [row[:3] for row in rows]


def test_every_command_has_its_options(site: Path) -> None:
    page = (site / "commands.html").read_text("utf-8")
    titles = re.findall(r'<h2 id="[^"]*">(davsp [\w -]+?)<', page)
    commands = [command.callback.__name__ for command in app.registered_commands if command.callback]
    assert {f"davsp {name}" for name in commands} <= set(titles)
    assert {"davsp judge validate", "davsp testbed draw"} <= set(titles)
    assert "<code>--max-new-tokens</code></td>\n<td><code>256</code>" in page


def test_intervals_in_tables_stay_on_one_line(site: Path) -> None:
    assert "<td>52.6 [49.2,&nbsp;56.0] (50.0&nbsp;to&nbsp;54.1)</td>" in (site / "results.html").read_text("utf-8")
