"""The walks, run as a user would type them: every command of a page, in order, in one shell and an empty folder."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from davsp.results import read_results
from tests.docs.site import ROOT, code_blocks, named_files

pytest.importorskip("inspect_ai")
pytestmark = pytest.mark.slow

PORT = "8123"
"""That of the page, for which a test takes one that is free."""


def walk(page: str, folder: Path) -> str:
    """Run a page's commands; what they printed. One that fails ends the walk, and fails the test with what was said."""
    file = ROOT / "docs" / "walks" / f"{page}.md"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for name, content in named_files(file).items():
        (folder / name).write_text(content.replace(PORT, port), "utf-8")
    commands = "\n".join(code_blocks(file, "")).replace(PORT, port)
    paths = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
    }
    process = subprocess.Popen(
        ["bash", "-e", "-u", "-x", "-o", "pipefail", "-c", commands],
        cwd=folder,
        env=os.environ | paths | {"HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=540)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a server that a failed walk left behind
    assert process.returncode == 0, printed[-5000:]
    return printed


def test_a_safety_engineer_comes_from_texts_to_a_server_that_a_build_checks(tmp_path: Path) -> None:
    for needed in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(needed, reason="transformers serve needs it: pip install 'davsp[dev]'")
    assert shutil.which("curl"), "the walk waits for the server with curl"
    printed = walk("safety-engineer", tmp_path).splitlines()
    said = [line for line in printed if line.startswith(("sure ,", "i am sorry"))]
    assert [line.split()[0] for line in said] == ["sure", "i", "i"], "undefended, behind the prompt, through the client"
    served = read_results(tmp_path / "runs/served")
    assert served.model.startswith("http://127.0.0.1:") and set(served.defences) == {"none", "prompt"}
    assert (tmp_path / "runs/served/report.html").is_file()
    assert len(list((tmp_path / "runs/hardened").glob("*.png"))) == 80


def test_a_student_makes_the_papers_table_with_a_defence_of_their_own(tmp_path: Path) -> None:
    walk("student", tmp_path)
    with (tmp_path / "runs/paper/tables.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["model"] == "testbed"]
    compared = {"none", "adashield-s", "polite", "pat", "uniguard", "esiii-approximate", "davsp"}
    assert {row["defence"] for row in rows} == compared
    assert "polite & " in (tmp_path / "runs/paper/tables.tex").read_text()
