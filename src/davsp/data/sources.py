"""Where queries come from: a file, a folder, or a data set on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from davsp.data.readers import QueryFile, queries_from, read_queries
from davsp.data.records import Located
from davsp.errors import InputError

if TYPE_CHECKING:
    from datasets import IterableDataset

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


def read_source(
    name: str, *, skip_bad: bool = False, splits: Sequence[str] = ("train",), malicious: bool | None = None
) -> QueryFile:
    """The queries that a name stands for.

    A file is itself. Of a folder it is the file named "queries", or the only one with a suffix of SUFFIXES; a folder
    that holds several is read as a data set, with its splits, shards and configurations. Any other "owner/name" is a
    data set on the hub, "owner/name@revision" at a commit, branch or tag; it is fetched into the local cache once, and
    found there without a network. ":split" or ":configuration/split" after a folder or data set chooses a part of it;
    else it is the first of `splits` that is there, or the only one. `malicious` is used for records that do not say.

    Raises InputError where there is no such file or part, BadRecords for records that are not usable.
    """
    base, part = _divided(name)
    path = Path(base)
    if not path.is_dir():
        if path.is_file() or path.suffix in SUFFIXES or not _HUB_ID.fullmatch(base):
            return read_queries(path, skip_bad=skip_bad, malicious=malicious)
        repository, _, revision = base.partition("@")
        try:
            path = fetch_data_set(repository, revision or None)
        except InputError as error:
            raise InputError(f"{base} is no file and no folder, and {error}") from error
    if not part and (only := _only_file(path)):
        return read_queries(only, skip_bad=skip_bad, malicious=malicious)
    records = _records(_open_part(path, base, part, splits))
    return queries_from(records, name, skip_bad=skip_bad, malicious=malicious, image_folder=path)


def fetch_data_set(repository: str, revision: str | None, files: Sequence[str] = ()) -> Path:
    """The folder of a data set of the hub, fetched into the local cache once, and found there without a network.

    `files` are patterns of the files that are needed; all of them where there are none. Raises InputError where the
    data set cannot be reached.
    """
    try:
        patterns = list(files) or None
        fetched = snapshot_download(repository, repo_type="dataset", revision=revision, allow_patterns=patterns)
    except (OSError, HfHubHTTPError) as error:
        at = f"{repository}@{revision}" if revision else repository
        raise InputError(
            f"no data set {at} on the hub that can be reached: {str(error).strip().splitlines()[0]}"
        ) from error
    return Path(fetched)


def _divided(name: str) -> tuple[str, str]:
    """A name and the part of it that is asked for after a colon, "" for none."""
    base, colon, part = name.rpartition(":")
    if not colon or Path(name).exists() or not (Path(base).is_dir() or _HUB_ID.fullmatch(base)):
        return name, ""
    return base, part


def _only_file(folder: Path) -> Path | None:
    """The file of queries in a folder, or None where it holds several, as a data set. Raises InputError for none."""
    files = sorted(p for p in folder.rglob("*") if p.suffix in SUFFIXES and not p.name.startswith("."))
    named = [p for p in files if p.stem == "queries"]
    if not files:
        raise InputError(f"{folder} holds no file of queries ({', '.join(SUFFIXES)}). Is it the right folder?")
    chosen = named or files
    return chosen[0] if len(chosen) == 1 else None


def _open_part(folder: Path, name: str, part: str, splits: Sequence[str]) -> IterableDataset:
    """One split of a data set in a folder, read as it is iterated over; images stay the files' own bytes."""
    import datasets

    config, _, split = part.rpartition("/")
    try:
        configs = datasets.get_dataset_config_names(str(folder))
        if not config:
            config = "default" if "default" in configs else configs[0]
            if len(configs) > 1 and config != "default":
                raise InputError(
                    f"{name} has several configurations: name one, {name}:CONFIGURATION/SPLIT, of {_some(configs)}."
                )
        if config not in configs:
            raise InputError(f"{name} has no configuration {config!r}. Choose from {_some(configs)}.")
        parts = datasets.load_dataset(str(folder), name=config, streaming=True)
    except InputError:
        raise
    except Exception as error:  # the library raises errors of all kinds: of YAML, Arrow, files, its own
        raise InputError(
            f"{name} cannot be read as a data set: {_first_line(error)} Name one file of queries in it, or call one "
            "queries.jsonl."
        ) from error
    there = [str(key) for key in parts]
    split = split or (there[0] if len(there) == 1 else next((s for s in splits if s in there), ""))
    if split not in there:
        raise InputError(f"{name} has no split {split!r}. Choose one, {name}:SPLIT, of {_some(there)}.")
    return parts[split].decode(False)


def _records(part: IterableDataset) -> Iterator[Located]:
    from datasets import ClassLabel

    labels = {name: f.names for name, f in (part.features or {}).items() if isinstance(f, ClassLabel)}
    try:
        for number, row in enumerate(part, start=1):
            yield f"row {number}", _with_label_names(row, labels)
    except Exception as error:  # as above: whatever a damaged shard makes the library raise
        raise InputError(f"the data set cannot be read: {_first_line(error)} Fetch or write it again.") from error


def _with_label_names(row: Mapping[str, Any], labels: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Labels are numbers in a data set: a user reads their names. A negative one is none."""
    named = {
        name: (names[row[name]] if 0 <= row[name] < len(names) else None)
        for name, names in labels.items()
        if isinstance(row.get(name), int)
    }
    return {**row, **named}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{text.splitlines()[0][:200].rstrip('.')}." if text else f"{type(error).__name__}."
