"""Where queries come from: a file, a folder, or a data set on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from davsp.errors import InputError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")


def locate_queries(name: str) -> Path:
    """The file of queries that a name stands for.

    A file is itself. In a folder it is the file named "queries", or the only one with a suffix of SUFFIXES. Any other
    "owner/name" is a data set on the hub, "owner/name@revision" at a commit, branch or tag; it is fetched into the
    local cache once, and found there without a network. Raises InputError where there is no such file.
    """
    path = Path(name)
    if path.is_dir():
        return _only_file(path)
    if path.is_file() or path.suffix in SUFFIXES or not HUB_ID.fullmatch(name):
        return path
    repository, _, revision = name.partition("@")
    try:
        fetched = fetch_data_set(repository, revision or None)
    except InputError as error:
        raise InputError(f"{name} is no file and no folder, and {error}") from error
    return _only_file(fetched)


def fetch_data_set(repository: str, revision: str | None, files: Sequence[str] = ()) -> Path:
    """The folder of a data set of the hub, fetched into the local cache once, and found there without a network.

    `files` are patterns of the files that are needed; all of them where there are none. Raises InputError where the
    data set cannot be reached.
    """
    try:
        patterns = list(files) or None
        found = snapshot_download(repository, repo_type="dataset", revision=revision, allow_patterns=patterns)
    except (OSError, HfHubHTTPError) as error:
        at = f"{repository}@{revision}" if revision else repository
        raise InputError(
            f"no data set {at} on the hub that can be reached: {str(error).strip().splitlines()[0]}"
        ) from error
    return Path(found)


def _only_file(folder: Path) -> Path:
    found = sorted(p for p in folder.rglob("*") if p.suffix in SUFFIXES)
    named = [p for p in found if p.stem == "queries"]
    chosen = named or found
    if len(chosen) != 1:
        names = ", ".join(str(p.relative_to(folder)) for p in chosen[:10]) or "none"
        raise InputError(
            f"{folder} should hold one file of queries ({', '.join(SUFFIXES)}); found: {names}. Name the file, "
            "or call it queries.jsonl."
        )
    return chosen[0]
