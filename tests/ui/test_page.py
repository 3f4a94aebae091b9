"""The page in a real browser, served by `davsp ui` in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
import yaml
from PIL import Image

from davsp.defences.textual import SafetyPrefix
from davsp.models.base import VisionLanguageModel
from davsp.testbed.sources import draw_source
from tests.browser import Browser, browser, find_chromium

if not find_spec("gradio"):
    pytest.skip("could not import gradio, which the page is made with", allow_module_level=True)
from davsp.ui.page import _on_white

SPACE = Path(__file__).parents[2] / "examples" / "space"
TEXT = "(document.querySelector('#{0} textarea, #{0} input') || {{}}).value"
SECONDS = 180
ASK = "document.querySelector('#ask').click()"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def serving(port: int, log: Path, *command: str, **environment: str) -> Iterator[str]:
    """The address of a page that a process of its own serves."""
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, *command], stderr=stream, stdout=stream, env=os.environ | environment
        )
    try:
        wait_until_served(f"http://127.0.0.1:{port}/", process, log)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(SECONDS)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    log = tmp_path_factory.mktemp("ui") / "log"
    options = ("--defence", "prefix", "--port", str(port), "--max-new-tokens", "8")
    with serving(port, log, "-m", "davsp", "ui", *options) as served:
        yield served


def wait_until_served(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Browser]:
    if find_chromium() is None:
        pytest.skip("this machine has no Chromium to look at pages with")
    with browser() as tab:
        tab.open(address)
        assert tab.wait_for("document.querySelector('#gallery img') !== null", SECONDS)
        yield tab


def text(page: Browser, name: str) -> str:
    return str(page.value_of(TEXT.format(name)) or "")


def test_without_an_image_the_page_says_what_is_missing(page: Browser) -> None:
    page.value_of(ASK)
    assert page.wait_for("document.body.innerText.includes('there is no image yet')", SECONDS)


def test_a_query_of_the_gallery_is_answered_without_and_with_the_defence(
    page: Browser, model: VisionLanguageModel
) -> None:
    query = draw_source("testbed", "test", 2)[0]
    page.value_of("document.querySelector('#gallery img').closest('button').click()")
    assert page.wait_for(f"{TEXT.format('question')} === {query.question!r}", SECONDS)
    assert page.wait_for("document.querySelector('#image img') !== null", SECONDS)
    page.value_of(ASK)
    assert page.wait_for(f"{TEXT.format('defended')} !== ''", SECONDS)
    expected = model.generate([query, SafetyPrefix().defend(query)], 8)
    assert [text(page, "undefended"), text(page, "defended")] == expected
    assert page.wait_for("document.querySelector('#behind img') !== null", SECONDS)
    assert page.wait_for("document.querySelector('#figures').innerText.includes('tokens read')", SECONDS)


def test_the_page_asks_nothing_of_other_servers(page: Browser, address: str) -> None:
    asked = page.value_of("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert len(asked) > 5
    assert [name for name in asked if not name.startswith((address, "data:", "blob:"))] == []
    # What the page itself takes back is no failure.
    assert [complaint for complaint in page.complaints if complaint != "net::ERR_ABORTED"] == []


def test_the_space_serves_the_same_page(tmp_path: Path) -> None:
    port = free_port()
    with serving(port, tmp_path / "log", str(SPACE / "app.py"), PORT=str(port)) as address:
        config = httpx.get(f"{address}config").json()
    shown = [part["props"].get("value") for part in config["components"] if part["type"] == "markdown"]
    assert any("testbed with and without prefix" in text for text in shown)


def test_the_space_says_what_it_is_run_with() -> None:
    matter = yaml.safe_load((SPACE / "README.md").read_text("utf-8").split("---")[1])
    assert matter["sdk"] == "gradio"
    assert (SPACE / matter["app_file"]).is_file()
    assert int(matter["sdk_version"].partition(".")[0]) == int(version("gradio").partition(".")[0])
    assert "davsp[ui]" in (SPACE / "requirements.txt").read_text("utf-8")


def test_a_drawing_is_put_on_white_and_an_empty_one_is_none() -> None:
    drawn = Image.new("RGBA", (4, 2))
    assert _on_white({"composite": drawn}) is None
    assert _on_white(None) is None
    drawn.putpixel((0, 0), (255, 0, 0, 255))
    shown = _on_white({"composite": drawn})
    assert shown is not None
    assert [shown.getpixel(place) for place in ((0, 0), (1, 0))] == [(255, 0, 0), (255, 255, 255)]
