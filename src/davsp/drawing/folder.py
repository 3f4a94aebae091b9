"""A draw as a folder: images, a file of queries for each split, and a card."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from davsp import __version__
from davsp.data.query import Query
from davsp.errors import ArtefactError
from davsp.util.files import check_same_run, new_folder, read_json
from davsp.util.provenance import Provenance

if TYPE_CHECKING:
    from davsp.drawing.draw import DrawnQueries

FACTS = "draw.json"
CARD = "README.md"
_METADATA = ("request", "text_id", "pair")


def save(drawn: DrawnQueries, folder: Path) -> Path:
    """Write a draw into a new or empty folder, whole or not at all; one that holds the same draw stays as it is.

    Raises ArtefactError where the folder holds anything else, StorageError where it cannot be written.
    """
    with suppress(OSError):
        folder.rmdir()  # where it is empty
    with new_folder(folder) as partial:
        if partial:
            _fill(partial, drawn)
    if partial is None:
        if not (folder / FACTS).is_file():
            raise ArtefactError(f"{folder} holds something else than a draw: choose another output folder.")
        saved = read_json(folder / FACTS, f"{folder} holds no draw")
        check_same_run(folder, "another draw", saved if isinstance(saved, dict) else {}, drawn.facts)
    return folder


def _fill(folder: Path, drawn: DrawnQueries) -> None:
    (folder / "images").mkdir()
    for name, queries in drawn.splits.items():
        lines = [json.dumps(record, ensure_ascii=False) for record in _written(queries, folder)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    (folder / CARD).write_text(card(drawn), "utf-8")
    facts = drawn.facts | {"davsp": __version__, "provenance": Provenance.now().model_dump(mode="json")}
    (folder / FACTS).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _written(queries: Sequence[Query], folder: Path) -> Iterator[dict[str, Any]]:
    """The records of queries, whose images are written into a folder. All have the same columns, of the same types."""
    for query in queries:
        assert isinstance(query.image, bytes)
        image = f"images/{query.id}.png"
        (folder / image).write_bytes(query.image)
        yield {
            **query.as_record(image),
            "answer": query.answer or "",
            **{name: query.metadata.get(name, "") for name in _METADATA},
        }


def card(drawn: DrawnQueries) -> str:
    """What was drawn, from what, and what was left out, as Markdown under a head that names the splits' files."""
    files = "".join(f"  - split: {name}\n    path: {name}.jsonl\n" for name in drawn.splits)
    counts = Counter(
        (name, query.group, query.malicious) for name, queries in drawn.splits.items() for query in queries
    )
    kinds = drawn.facts["kinds"]
    rows = [
        f"| {kind} | "
        + " | ".join(f"{counts[name, kind, True]} + {counts[name, kind, False]}" for name in drawn.splits)
        for kind in kinds
    ]
    texts = [
        f"- {side}: {drawn.facts[side]['texts']} texts, SHA-256 {drawn.facts[side]['digest']}"
        for side in ("malicious", "benign")
        if side in drawn.facts
    ]
    lines = [
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n",
        "# Drawn queries\n",
        "Requests that were given as texts, drawn into images by davsp. Malicious ones are for training and testing "
        "refusals only.\n",
        "Queries, malicious + benign:\n",
        "| kind | " + " | ".join(drawn.splits) + " |",
        "|---|" + "---|" * len(drawn.splits),
        *[f"{row} |" for row in rows],
        "\nFrom:\n",
        *(texts or ["- no texts"]),
        "\nTexts that say nearly the same are in one split. Queries of one `pair` are a malicious text and a benign "
        "one of like length, drawn in the same way.\n",
        f"Seed {drawn.facts['seed']}, images of {drawn.facts['side']} x {drawn.facts['side']} pixels, typefaces "
        f"{', '.join(drawn.facts['fonts'])}; `{FACTS}` has all that the draw depends on.",
    ]
    if drawn.notes:
        lines += ["\nNotes:\n", *(f"- {note}" for note in drawn.notes)]
    return "\n".join(lines) + "\n"
