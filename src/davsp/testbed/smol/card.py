"""The card of a model that reads English: what it refuses and how well it reads, measured and written down."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from jinja2 import Environment, PackageLoader
from pydantic import BaseModel, ConfigDict, Field

from davsp import __version__
from davsp.drawing.kinds import LEAST_SIDE, MOST_SIDE
from davsp.errors import InputError
from davsp.imaging.opening import open_image, png_bytes
from davsp.models.base import VisionLanguageModel
from davsp.models.hardware import hardware_of
from davsp.models.requests import Request
from davsp.models.shipped import SHIPPED
from davsp.rates import Figure
from davsp.testbed.public_texts import default_folder, read_public_texts
from davsp.testbed.smol.questions import AskedSet, asked_sets, figstep_of
from davsp.testbed.sources import LEAST_PUBLIC_SIDE
from davsp.util.batching import batched
from davsp.util.files import append_line, make_folder, parse_json, write_json, write_text
from davsp.util.progress import bar
from davsp.util.provenance import Provenance

ANSWERS, CARD, PAGE = "answers.jsonl", "card.json", "card.md"
PER_ROW = 300
"""Queries of each row: so many that a rate at 90 % is known to within 4 points."""


class CardRow(BaseModel):
    """One figure: what was asked, from how many different texts, and what came of it."""

    model_config = ConfigDict(frozen=True)

    asked: str
    measured: str
    figure: Figure
    texts: int = Field(description="How many different texts the n queries are drawn from.")


class Card(BaseModel):
    """What was measured of a model, and with what. `seconds`: a query, as a mean, by the most tokens of its answer."""

    model_config = ConfigDict(frozen=True)

    model: str
    version: str = Field(description="Of a model that davsp knows by name.")
    identity: str = Field(description="Digest of all that its answers depend on.")
    seed: int
    side: int = Field(description="Side of the drawn images in pixels.")
    per_row: int
    batch_size: int
    rows: tuple[CardRow, ...]
    seconds: dict[int, float]
    machine: str
    versions: dict[str, str]
    provenance: Provenance | None = None


def score_reader(
    model: VisionLanguageModel,
    folder: Path,
    *,
    texts: Path | None = None,
    figstep: Path | None = None,
    per_row: int = PER_ROW,
    side: int = LEAST_PUBLIC_SIDE,
    batch_size: int = 16,
    seed: int = 0,
) -> Card:
    """Measure a model and write card.json and card.md into a folder, each whole or not at all.

    `texts` is the folder of the public texts, by default that which DAVSP_TEXTS names; `figstep` that of the real
    FigStep. Answers are kept in answers.jsonl as they come, each by the digest of all that it depends on: what is there
    is not asked again. Raises InputError for a side that cannot be drawn and where texts or images are missing,
    StorageError where nothing can be written.
    """
    if not LEAST_SIDE <= side <= MOST_SIDE:
        raise InputError(f"images of {side} pixels a side: choose from {LEAST_SIDE} to {MOST_SIDE}.")
    found = read_public_texts(texts or default_folder(), side)
    sets = asked_sets(found, side, per_row, seed, figstep_of(figstep))
    asker = Asker(model, make_folder(folder) / ANSWERS, batch_size)
    rows: list[CardRow] = []
    keys = [asker.keys(asked) for asked in sets]
    with bar("Asking", sum(map(len, keys)), done=sum(map(asker.answered, keys))) as advance:
        for asked, own in zip(sets, keys, strict=True):
            answers = asker.ask(asked, own, advance)
            rows += [
                CardRow(asked=asked.name, measured=title, figure=measure(asked.expected, answers), texts=asked.texts)
                for title, measure in asked.figures.items()
            ]
    hardware = hardware_of(model.model, model.device)
    card = Card(
        model=model.name,
        version=SHIPPED[model.name].version if model.name in SHIPPED else "",
        identity=model.identity,
        seed=seed,
        side=side,
        per_row=per_row,
        batch_size=batch_size,
        rows=tuple(rows),
        seconds=asker.seconds,
        machine=f"{model.device} ({platform.machine()}), {hardware.dtype}, {torch.get_num_threads()} threads",
        versions={name: version(name) for name in ("torch", "transformers", "pillow")} | {"davsp": __version__},
        provenance=Provenance.now(),
    )
    write_json(folder / CARD, card.model_dump(mode="json"))
    write_text(folder / PAGE, card_page(card))
    return card


def card_page(card: Card) -> str:
    """The card as Markdown."""
    loader = PackageLoader("davsp.testbed")
    environment = Environment(loader=loader, autoescape=False, trim_blocks=True, keep_trailing_newline=True)  # noqa: S701
    return environment.get_template("reader_card.md.j2").render(card=card, shown=_shown)


def _shown(figure: Figure) -> str:
    ends = "" if figure.low is None or figure.high is None else f" [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"
    return f"{100 * figure.value:.1f}{ends}"


@dataclass(frozen=True)
class KeptAnswer:
    """An answer, and its share of the seconds that its batch took."""

    text: str
    seconds: float


class Asker:
    """Asks a model in batches, and keeps what it said in a file."""

    def __init__(self, model: VisionLanguageModel, file: Path, batch_size: int) -> None:
        self._model, self._file, self._batch_size = model, file, batch_size
        self._identity = model.identity
        self._kept = _read(file)
        self._spent: dict[int, list[float]] = {}

    @property
    def seconds(self) -> dict[int, float]:
        """The mean seconds of a query, by the most tokens of its answer."""
        return {tokens: round(sum(spent) / len(spent), 3) for tokens, spent in sorted(self._spent.items())}

    def keys(self, asked: AskedSet) -> list[str]:
        """Under what the answer to each of a set's requests is kept."""
        return [self._key(request, asked.tokens) for request in asked.requests]

    def answered(self, keys: Sequence[str]) -> int:
        """How many of these have been answered."""
        return sum(key in self._kept for key in keys)

    def ask(self, asked: AskedSet, keys: Sequence[str], advance: Callable[[int], None]) -> list[str]:
        """The greedy answers to a set's requests, in their order."""
        missing = [(key, r) for key, r in zip(keys, asked.requests, strict=True) if key not in self._kept]
        for batch in batched(missing, self._batch_size):
            started = time.perf_counter()
            said = self._model.respond([request for _, request in batch], asked.tokens)
            each = (time.perf_counter() - started) / len(batch)
            for (key, _), response in zip(batch, said, strict=True):
                self._kept[key] = KeptAnswer(response.text, each)
                append_line(self._file, json.dumps({"key": key, "text": response.text, "seconds": each}))
            advance(len(batch))
        self._spent.setdefault(asked.tokens, []).extend(self._kept[key].seconds for key in keys)
        return [self._kept[key].text for key in keys]

    def _key(self, request: Request, tokens: int) -> str:
        image = png_bytes(open_image(request.image)) if request.images else b""
        parts = (self._identity, str(tokens), request.question, hashlib.sha256(image).hexdigest())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _read(file: Path) -> dict[str, KeptAnswer]:
    """The answers in a file; a line that a killed process left unfinished is none."""
    kept: dict[str, KeptAnswer] = {}
    for line in file.read_bytes().splitlines() if file.is_file() else []:
        try:
            found = parse_json(line)
            kept[found["key"]] = KeptAnswer(str(found["text"]), float(found["seconds"]))
        except (ValueError, TypeError, KeyError):
            continue
    return kept
