"""Inspect's logs with Inspect's own viewer beside them, as a folder for any web server of files."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from urllib.parse import quote

from davsp.errors import InputError, StorageError
from davsp.report.collect import Evaluation
from davsp.util.files import make_folder

VIEWER = "viewer"
_LISTING = Path("logs") / "listing.json"


def write_viewer(evaluations: Sequence[Evaluation], out: Path) -> dict[Path, str]:
    """Write `out`/viewer with the logs of all evaluations; give by evaluation's folder the link to its logs.

    A viewer that is there is replaced once the new one is whole. Raises InputError without Inspect, without any log,
    and for a folder of that name that holds something else; StorageError where it cannot be written.
    """
    if importlib.util.find_spec("inspect_ai") is None:
        raise InputError("The viewer is Inspect's, which is not installed. Run: pip install 'davsp[eval]'")
    target = make_folder(out) / VIEWER
    if target.exists() and not (target / _LISTING).is_file():
        raise InputError(f"{target} is no viewer of logs and would be lost: move it, or give another --out.")
    links: dict[Path, str] = {}
    try:
        with tempfile.TemporaryDirectory(prefix=".viewer-", dir=out) as work:
            for number, evaluation in enumerate(evaluations, start=1):
                if logs := sorted((evaluation.folder / "logs").glob("*.eval")):
                    name = f"{number}-{evaluation.folder.resolve().name}"
                    together = Path(work) / "logs" / name
                    together.mkdir(parents=True)
                    for log in logs:
                        shutil.copy2(log, together)
                    links[evaluation.folder] = f"{VIEWER}/index.html#/logs/{quote(name)}"
            if not links:
                raise InputError("There are no logs for a viewer: none of the evaluations has a folder of them.")
            _bundle(Path(work) / "logs", Path(work) / VIEWER)
            if target.exists():
                shutil.rmtree(target)
            (Path(work) / VIEWER).rename(target)
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error}. Choose another output folder.") from error
    return links


def _bundle(logs: Path, target: Path) -> None:
    """Inspect says what it does on standard output, which is for results."""
    from inspect_ai.log import bundle_log_dir

    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing):
        bundle_log_dir(str(logs), str(target))
