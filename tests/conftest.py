"""Shared fixtures. Shapes written in the package's annotations are checked at every call in the tests."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

CHECKED = [
    *("imaging.pixels", "prompts.layouts", "prompts.frame", "prompts.visual", "prompts.official", "models"),
    *("training.vector", "training.losses", "training.optim", "training.batches"),
    *("training.objective", "training.trainer", "attacks"),
]
install_import_hook([f"davsp.{module}" for module in CHECKED], "beartype.beartype")

os.environ["HF_HUB_OFFLINE"] = "1"
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts the tests in the background ignores it

import torch  # noqa: E402

from davsp.data.query import Query  # noqa: E402
from davsp.models.base import VisionLanguageModel  # noqa: E402
from davsp.models.loading import load_model  # noqa: E402
from davsp.models.shipped import SHIPPED  # noqa: E402
from davsp.testbed.queries import border_queries  # noqa: E402
from davsp.training.vector import HarmfulnessVector, extract_vector  # noqa: E402


@pytest.fixture(scope="session")
def model() -> VisionLanguageModel:
    """The shipped testbed checkpoint."""
    return load_model("testbed")


@pytest.fixture(scope="session")
def queries() -> tuple[list[Query], list[Query]]:
    """A few training and validation queries of every group that border training sees."""
    return border_queries(seed=0, per_group=4, checks_per_group=2)


@pytest.fixture(scope="session")
def vector(model: VisionLanguageModel, queries: tuple[list[Query], list[Query]]) -> HarmfulnessVector:
    """A harmfulness vector of the testbed, from few queries."""
    return extract_vector(model, *queries, prefix="be careful .", batch_size=16)


@pytest.fixture(scope="session")
def transformers_serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The shipped LLaVA testbed checkpoint on a real server: URL=NAME."""
    if any(importlib.util.find_spec(name) is None for name in ("fastapi", "uvicorn")):
        pytest.skip("transformers serve needs fastapi and uvicorn: pip install 'davsp[dev]'")
    home = tmp_path_factory.mktemp("hub")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    name = str(SHIPPED["testbed"].folder)
    code = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", code, "serve", name, "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home)}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            for _ in range(240):
                time.sleep(0.5)
                assert process.poll() is None, (home / "log").read_text()[-2000:]
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                    break
                except urllib.error.HTTPError:
                    break
                except OSError:
                    continue
            yield f"http://127.0.0.1:{port}/v1={name}"
        finally:
            process.terminate()
            process.wait(30)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a GPU, what needs one is skipped, and the summary says why."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU that torch can use"))


HOW_TO_RUN = {
    "chromium": "install Chromium (Debian: apt-get install chromium)",
    "davsp_test_data": "name the folder of the benchmarks' files: DAVSP_TEST_DATA=FOLDER make test",
    "needs a gpu": "on a machine that has one: make gpu-check",
    "could not import": "install what tests need: make setup",
    "pip install": "install what tests need: make setup",
    "is not installed": "install it with pip; `make setup` leaves it out where it is large",
}
"""By a part of a test's reason to be skipped, in lower case: how to have it run."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """At the end, how many tests were skipped for what reason, and how to have them run."""
    reasons = Counter(str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", ()))
    if not reasons:
        return
    terminalreporter.section(f"{reasons.total()} tests were skipped")
    for reason, n in reasons.most_common():
        told = reason.removeprefix("Skipped: ")
        how = next((how for part, how in HOW_TO_RUN.items() if part in told.lower()), "")
        terminalreporter.write_line(f"{n:4}  {told}" + (f"\n      To run them, {how}." if how else ""))


class _NoDeprecatedCalls(logging.Handler):
    """transformers tells in its log what it will drop: a call of ours that needs it fails already."""

    def emit(self, record: logging.LogRecord) -> None:
        if "deprecat" in record.getMessage().lower():
            raise DeprecationWarning(record.getMessage())


logging.getLogger("transformers").addHandler(_NoDeprecatedCalls())


@pytest.fixture(autouse=True)
def _same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real benchmark files, which is not part of the project."""
    found = os.environ.get("DAVSP_TEST_DATA")
    if not found or not Path(found).is_dir():
        pytest.skip("DAVSP_TEST_DATA does not name a folder of benchmark files")
    return Path(found)
