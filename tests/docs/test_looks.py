"""The site in a real browser: nothing fails to load or sticks out, everything can be read, in light and in dark."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Browser, browser, find_chromium

READ = ["index", "quickstart", "training", "results", "performance", "commands", "extending/defence", "api/training"]
"""Pages of every make: pictures, wide tables, long tables, code, docstrings."""
STICKING_OUT = """
[...document.querySelectorAll('.md-content *, .md-header *, .md-footer *')]
  .filter(e => e.checkVisibility() && !e.closest('pre, .md-typeset__scrollwrap, .md-search, .headerlink'))
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
  .map(e => e.outerHTML.slice(0, 80))
"""
BOXES_THAT_DO_NOT_SCROLL = """
[...document.querySelectorAll('.md-content table')]
  .map(e => e.closest('.md-typeset__scrollwrap'))
  .filter(e => !e || !['auto', 'scroll'].includes(getComputedStyle(e).overflowX)).length
"""
UNREADABLE = """
(() => {
  const parts = colour => { const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = ([r, g, b, a], [x, y, z]) => [a * r + (1 - a) * x, a * g + (1 - a) * y, a * b + (1 - a) * z];
  const behind = e => {
    const layers = [];
    for (; e; e = e.parentElement) layers.unshift(parts(getComputedStyle(e).backgroundColor));
    return layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = colour => colour.map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  return [...document.querySelectorAll('.md-content :is(h1, h2, h3, p, li, td, th, dt, dd, a, p > code, td > code)')]
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && e.checkVisibility())
    .filter(e => !e.matches('.headerlink'))
    .map(e => [light(over(parts(getComputedStyle(e).color), behind(e))), light(behind(e)), e.outerHTML.slice(0, 80)])
    .filter(([a, b]) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5);
})()
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *told: Any) -> None:
        pass


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    """The address of the site on a server of its own."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    if find_chromium() is None:
        pytest.skip("this machine has no Chromium to look at pages with")
    with browser() as opened:
        yield opened


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", READ)
def test_a_page_can_be_read_at_every_width_in_light_and_dark(
    tab: Browser, site: Path, name: str, width: int, dark: bool
) -> None:
    tab.open((site / f"{name}.html").as_uri(), width=width, dark=dark)
    assert tab.wait_for("document.querySelectorAll('.md-content table:not(.md-typeset__table table)').length === 0")
    assert tab.complaints == []
    assert tab.value_of("document.documentElement.scrollWidth") <= width
    assert tab.value_of(STICKING_OUT) == []
    assert tab.value_of(BOXES_THAT_DO_NOT_SCROLL) == 0
    assert tab.value_of(UNREADABLE) == []
    colours = tab.value_of("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert max(colours) < 64 if dark else min(colours) > 240


def test_no_page_complains_or_sticks_out_on_a_telephone(tab: Browser, site: Path) -> None:
    wrong = []
    for file in sorted(set(site.rglob("*.html")) - {site / "404.html"}):  # which a server alone gives
        tab.open(file.as_uri(), width=400)
        out = tab.value_of(STICKING_OUT)
        if tab.complaints or out or tab.value_of("document.documentElement.scrollWidth") > 400:
            wrong.append((file.name, list(tab.complaints), out))
    assert wrong == []


def test_pictures_are_shown(tab: Browser, site: Path) -> None:
    tab.open((site / "index.html").as_uri())
    assert tab.value_of("document.querySelector('.md-content img').naturalWidth") > 0


def test_the_menu_of_a_telephone_leads_to_every_part(tab: Browser, site: Path) -> None:
    tab.open((site / "index.html").as_uri(), width=400)
    tab.value_of("document.querySelector('label.md-header__button[for=__drawer]').click()")
    assert tab.wait_for("document.querySelector('.md-nav--primary').getBoundingClientRect().left >= 0")
    parts = tab.value_of("[...document.querySelectorAll('.md-nav--primary > ul > li')].map(e => e.innerText.trim())")
    assert [part.splitlines()[0] for part in parts] == [
        *("Start", "Guide", "Measured", "Extending", "Inside", "API reference")
    ]


@pytest.mark.parametrize("server", [True, False], ids=["from a server", "from files"])
def test_the_search_finds_an_option(tab: Browser, served: str, site: Path, server: bool) -> None:
    tab.open(f"{served}/extending/family.html" if server else (site / "extending" / "family.html").as_uri())
    box = "document.querySelector('[data-md-component=search-query]')"
    tab.value_of(f"{box}.focus(); {box}.value = 'micro_batch'; {box}.dispatchEvent(new KeyboardEvent('keyup'))")
    assert tab.wait_for("document.querySelectorAll('.md-search-result__link').length > 0")
    assert "training.html" in tab.value_of("document.querySelector('.md-search-result__list').innerHTML")
    assert tab.complaints == []
