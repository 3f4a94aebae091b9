"""A benchmark as a folder to train on: its images, a file of queries for each split, and a card."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from davsp.benchmarks.selection import BenchmarkSelection
from davsp.benchmarks.training import training_queries
from davsp.data.folder import IMAGES, ImageWriter
from davsp.data.query import Query
from davsp.errors import InputError
from davsp.util.files import new_folder

CARD = "README.md"


def export(selection: BenchmarkSelection, folder: Path, share: float, seed: int) -> Path:
    """Write its queries into a new or empty folder, whole or not at all, divided as `training_queries` does.

    Every column of a record is a text, but for `malicious`. Raises InputError where the folder holds anything, or the
    queries cannot be divided; StorageError where it cannot be written.
    """
    splits = dict(zip(("train", "validation"), training_queries([selection], share, seed), strict=True))
    with suppress(OSError):
        folder.rmdir()  # where it is empty
    with new_folder(folder) as partial:
        if partial is None:
            raise InputError(f"{folder} is there already: choose another output folder.")
        (partial / IMAGES).mkdir()
        names = dict.fromkeys(name for queries in splits.values() for query in queries for name in query.metadata)
        images = ImageWriter(partial)
        for split, queries in splits.items():
            lines = _lines(queries, list(names), images)
            (partial / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
        (partial / CARD).write_text(_card(selection, splits), "utf-8")
    return folder


def _lines(queries: Sequence[Query], metadata: Sequence[str], images: ImageWriter) -> Iterator[str]:
    """The records of queries, whose images go into the folder."""
    for query in queries:
        record = {
            **{name: query.metadata.get(name, "") for name in metadata},
            "id": query.id,
            "image": images.write(query.image, f"query {query.id}"),
            "question": query.question,
            "answer": query.answer or "",
            "malicious": query.malicious,
            "group": query.group,
        }
        yield json.dumps(record, ensure_ascii=False)


def _card(selection: BenchmarkSelection, splits: dict[str, list[Query]]) -> str:
    benchmark = selection.benchmark
    files = "".join(f"  - split: {name}\n    path: {name}.jsonl\n" for name in splits)
    rows = [f"| {n} | {sum(q.malicious for q in s)} | {sum(not q.malicious for q in s)} |" for n, s in splits.items()]
    lines = [
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n",
        f"# {selection.title}\n",
        f"Written by davsp from {benchmark.source}.\n",
        f"- Licence: {benchmark.licence}. It holds for this copy too.",
        f"- Cite: {benchmark.citation}",
        f"- Content: {benchmark.content}\n",
        "| split | malicious | benign |",
        "|---|---|---|",
        *rows,
    ]
    return "\n".join(lines) + "\n"
