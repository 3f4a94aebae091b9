"""A benchmark as a folder to train on: its images, a file of queries for each split, and a card."""

from __future__ import annotations

import io
import json
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image

from davsp.benchmarks.selection import BenchmarkSelection
from davsp.benchmarks.training import training_queries
from davsp.data.digests import image_bytes
from davsp.data.query import Query
from davsp.errors import InputError
from davsp.util.files import new_folder

CARD = "README.md"
ENDINGS = {"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif"}


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
        (partial / "images").mkdir()
        names = dict.fromkeys(name for queries in splits.values() for query in queries for name in query.metadata)
        written: dict[Hashable, str] = {}
        for split, queries in splits.items():
            lines = _lines(queries, list(names), partial, written)
            (partial / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
        (partial / CARD).write_text(_card(selection, splits), "utf-8")
    return folder


def _lines(
    queries: Sequence[Query], metadata: Sequence[str], folder: Path, written: dict[Hashable, str]
) -> Iterator[str]:
    """The records of queries; each image goes into the folder once, `written` says under which name."""
    for query in queries:
        image = query.image
        key = id(image) if isinstance(image, Image.Image) else image
        if key not in written:
            content = _file_of(image) if isinstance(image, Image.Image) else image_bytes(image, f"query {query.id}")
            name = f"images/{len(written):05d}{_ending(image, content)}"
            (folder / name).write_bytes(content)
            written[key] = name
        record = {
            **{name: query.metadata.get(name, "") for name in metadata},
            "id": query.id,
            "image": written[key],
            "question": query.question,
            "answer": query.answer or "",
            "malicious": query.malicious,
            "group": query.group,
        }
        yield json.dumps(record, ensure_ascii=False)


def _file_of(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _ending(image: Path | bytes | Image.Image, content: bytes) -> str:
    if isinstance(image, Path):
        return image.suffix
    with Image.open(io.BytesIO(content)) as opened:
        return ENDINGS.get(opened.format or "", "")


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
