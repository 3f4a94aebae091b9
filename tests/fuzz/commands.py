"""Commands that write, what they are given, and what of their output is their result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

Result = Mapping[str, Any]


def _files(*names: str) -> Callable[[Path], Result]:
    return lambda out: {name: _content(out / name) for name in names}


def _content(file: Path) -> Any:
    """Its bytes; of JSON what it says, but for the command that wrote it and when."""
    return _undated(json.loads(file.read_text("utf-8"))) if file.suffix == ".json" else file.read_bytes()


def _undated(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _undated(part) for name, part in value.items() if name != "provenance"}


def _all_files(out: Path) -> Result:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def _answers(out: Path) -> Result:
    lines = [json.loads(line) for line in (out / "transcripts.jsonl").read_text().splitlines()]
    return {"rates": json.loads((out / "results.json").read_text())["defences"], "answers": lines}


@dataclass(frozen=True)
class Command:
    """A command line that writes to OUT, and what of OUT is its result."""

    words: Sequence[str]
    result: Callable[[Path], Result]


SETS = [part for option in ("steps=8", "validate_every=2", "batch_size=4") for part in ("--set", option)]
COMMANDS: Mapping[str, Command] = {
    "vector": Command(["vector", "--out", "OUT"], _files("vector.json", "vector.safetensors")),
    "train": Command(
        ["train", "--vector", "GIVEN/vector", "--out", "OUT", *SETS, "--set", "validation_answers=2"],
        _files("config.json", "model.safetensors"),
    ),
    "fit": Command(
        ["fit", "pat", "--out", "OUT", *SETS[:2], *("--set", "candidates=4", "--set", "length=2")],
        _files("config.json"),
    ),
    "evaluate": Command(
        ["evaluate", "--out", "OUT", "--per-group", "2", "--defence", "prefix", "--max-new-tokens", "8"], _answers
    ),
    "apply": Command(["apply", "GIVEN/prompt", "GIVEN/images", "OUT"], _all_files),
}


def start(command: Command, given: Path, out: Path) -> subprocess.Popen[bytes]:
    words = [word.replace("OUT", str(out)).replace("GIVEN", str(given)) for word in command.words]
    return subprocess.Popen(
        [sys.executable, "-m", "davsp", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(given / "tmp")},
    )


def finish(command: Command, given: Path, out: Path) -> float:
    """Seconds that it took. Raises RuntimeError with what it said when it failed."""
    began = time.monotonic()
    process = start(command, given, out)
    _, said = process.communicate(timeout=600)
    if process.returncode:
        raise RuntimeError(f"status {process.returncode}: {said.decode()[-2000:]}")
    return time.monotonic() - began


def left_behind(given: Path, out: Path) -> list[str]:
    """What no result of a command is: half-written files, Inspect's folders, temporary files."""
    names = [str(p.relative_to(out)) for p in out.rglob("*") if ".partial" in p.name or p.name.startswith(".inspect")]
    temporary = [p.name for p in (given / "tmp").iterdir() if not p.name.startswith("torchinductor")]  # torch's cache
    return names + [f"in the folder for temporary files: {name}" for name in temporary]


def prepare(folder: Path) -> Path:
    """What the commands are given: a vector, a prompt and images."""
    given = folder / "given"
    (given / "images").mkdir(parents=True)
    (given / "tmp").mkdir()
    for number in range(60):
        Image.effect_noise((900, 700), 40 + number).convert("RGB").save(given / "images" / f"{number}.jpg")
    finish(Command(["vector", "--out", "OUT"], _all_files), given, given / "vector")
    short = ["train", "--vector", "GIVEN/vector", "--out", "OUT", "--set", "steps=2", "--set", "validate_every=2"]
    finish(Command(short, _all_files), given, given / "prompt")
    return given
