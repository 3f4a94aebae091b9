"""Writing queries of the testbed's world to files, as any other data set."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from davsp.errors import InputError
from davsp.testbed.queries import draw_queries
from davsp.testbed.scenes import SIZE
from davsp.testbed.world import Split
from davsp.util.files import replacing, write_text


def export_queries(folder: Path, split: str, per_group: int, seed: int, side: int = SIZE) -> Path:
    """Write images and queries.jsonl, which `read_queries` reads, and return the latter's path.

    Raises InputError for an unknown split, StorageError when the folder cannot be written.
    """
    if split not in list(Split):
        raise InputError(f"there is no split {split!r}: choose from {', '.join(Split)}.")
    lines = []
    for query in draw_queries(Split(split), per_group, seed, side=side):
        assert isinstance(query.image, Image.Image)
        with replacing(folder / "images" / f"{query.id}.png") as partial:
            query.image.save(partial, format="PNG")
        lines.append(json.dumps({**query.as_record(f"images/{query.id}.png"), **query.metadata}))
    write_text(folder / "queries.jsonl", "\n".join(lines) + "\n")
    return folder / "queries.jsonl"
