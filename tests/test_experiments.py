"""The experiments behind the documentation's tables are commands, which the documentation names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(file.stem for file in (ROOT / "experiments").glob("*.py") if "as_command(" in file.read_text("utf-8"))
PAGES = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]


def test_each_of_them_is_named_in_the_documentation() -> None:
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    assert [name for name in COMMANDS if name != "running" and f"experiments.{name}" not in text] == []


@pytest.mark.parametrize("status", [2, 130])
def test_they_end_in_a_line(status: int, tmp_path: Path) -> None:
    code = "raise InputError('Nothing is there.')" if status == 2 else "raise KeyboardInterrupt"
    (tmp_path / "mine.py").write_text(
        "from davsp.errors import InputError\n"
        "from experiments.running import as_command\n"
        f"def main():\n    {code}\n"
        "as_command(main)\n"
    )
    done = subprocess.run(
        [sys.executable, str(tmp_path / "mine.py")],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
    )
    assert done.returncode == status
    said = "Error: Nothing is there." if status == 2 else "Stopped: the same command goes on."
    assert done.stderr.strip() == said
