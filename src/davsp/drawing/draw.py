"""Queries drawn from texts alone: read, checked, divided and paired, and drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL
from PIL import features
from scipy.stats import mannwhitneyu

from davsp.data.query import Query
from davsp.drawing.kinds import LEAST_SIDE, MOST_SIDE, REQUEST_KINDS, Kind, check_legible
from davsp.drawing.similar import divide
from davsp.drawing.split import DrawnSplit, draw_split
from davsp.drawing.texts import Requests, RequestSource, read_requests, text_id
from davsp.drawing.typefaces import typefaces
from davsp.errors import InputError
from davsp.util.files import sha256
from davsp.util.progress import bar

SPLITS = ("train", "validation", "test")
WHOLE = "queries"
"""The name of what is drawn where it is not divided."""
SIDE = 448
"""Side of the images in pixels: what many models take, or shrink a little."""
TELLING = 0.1
"""So far from one half, how well the lengths of texts tell malicious from benign ones is worth a warning."""


@dataclass(frozen=True)
class DrawnQueries:
    """What was drawn: queries by split, and how it came about.

    `facts` is what the draw depends on; `notes` are lines for a user: what was left out, and warnings.
    """

    splits: dict[str, list[Query]]
    facts: dict[str, Any]
    notes: tuple[str, ...]

    def save(self, folder: str | Path) -> Path:
        """Write images, a file of queries for each split, and a card into a folder, whole or not at all.

        Where the folder holds the same draw, it stays as it is. Raises ArtefactError where it holds anything else,
        StorageError where it cannot be written.
        """
        from davsp.drawing.folder import save

        return save(self, Path(folder))


def draw_queries(
    malicious: RequestSource | None = None,
    benign: RequestSource | None = None,
    *,
    kinds: Sequence[str] = tuple(Kind),
    per_kind: int | None = None,
    split: Sequence[float] = (0.8, 0.1, 0.1),
    side: int = SIDE,
    seed: int = 0,
    fonts: Sequence[str | Path] = (),
    column: str | None = None,
    skip_bad: bool = False,
    progress: bool = True,
) -> DrawnQueries:
    """Draw requests, which are given as texts, into images, in the ways in which attacks hide them.

    `malicious` and `benign` are files of one request a line, files of records (.json, .jsonl, .csv, .parquet), of which
    `column` names the requests, or lists of texts. Each malicious text is paired with a benign one of like length,
    which is drawn in the same way; texts of one side alone are not paired. `kinds` are of davsp.drawing.kinds.Kind;
    those that show requests need texts, "reading" benign ones. `per_kind` bounds the malicious and the benign queries
    of each kind, over all splits. `split` are the shares of training, validation and test, or (1,) for one set that is
    not divided; texts that say nearly the same are in one split. Images are of `side` x `side` pixels, texts in the
    typefaces of `fonts`, by default those that come with davsp. `skip_bad` leaves out texts that cannot be drawn.

    Raises InputError for options and texts that cannot be used, BadRecords naming each bad text.
    """
    chosen, shares = _kinds(kinds), _shares(split)
    if not LEAST_SIDE <= side <= MOST_SIDE:
        raise InputError(f"images of {side} pixels a side: choose from {LEAST_SIDE} to {MOST_SIDE}.")
    faces = typefaces([Path(file) for file in fonts])

    def check(text: str) -> None:
        faces.check(text)
        for kind in chosen:
            check_legible(kind, text, side, faces)

    texts = _read({"malicious": malicious, "benign": benign}, check, column, skip_bad)
    _check_needed(chosen, texts)
    parts = [
        DrawnSplit(name, *_sides(texts, part), per_kind and max(1, round(share * per_kind)), seed)
        for (name, share), part in zip(shares.items(), _divided(texts, shares, seed), strict=True)
    ]
    answers = texts["benign"].answers if "benign" in texts else {}
    splits = {}
    with bar("Drawing", sum(part.count(chosen) for part in parts), quiet=not progress) as advance:
        for part in parts:
            splits[part.name] = draw_split(part, chosen, side, faces, answers, advance)
    facts = {
        **{
            name: {"digest": side.digest, "texts": len(side.texts), "left_out": side.left_out}
            for name, side in texts.items()
        },
        "kinds": list(chosen),
        "per_kind": per_kind,
        "split": shares,
        "side": side,
        "seed": seed,
        "fonts": {file.name: sha256(file) for file in dict.fromkeys((*faces.running, faces.list))},
        "pillow": PIL.__version__,
        "freetype": features.version("freetype2"),
    }
    return DrawnQueries(splits, facts, tuple(_notes(texts, parts, chosen)))


def _kinds(names: Sequence[str]) -> tuple[Kind, ...]:
    """The kinds of these names, in their own order. Raises InputError for unknown ones, and for none."""
    if unknown := set(names) - set(Kind):
        raise InputError(f"there is no kind {min(unknown)!r}: choose from {', '.join(Kind)}.")
    if not names:
        raise InputError(f"name at least one kind: {', '.join(Kind)}.")
    return tuple(kind for kind in Kind if kind in names)


def _shares(split: Sequence[float]) -> dict[str, float]:
    """The shares of the splits that there are, which add up to 1. Raises InputError for any others."""
    if len(split) not in (1, len(SPLITS)) or min(split) < 0 or not math.isclose(sum(split), 1, abs_tol=1e-6):
        raise InputError(
            f"the split {','.join(f'{share:g}' for share in split)}: give three shares of train, validation and test "
            "that add up to 1, such as 0.8,0.1,0.1, or 1 for one set that is not divided."
        )
    names = SPLITS if len(split) == len(SPLITS) else (WHOLE,)
    return {name: share for name, share in zip(names, split, strict=True) if share}


def _read(
    given: Mapping[str, RequestSource | None], check: Callable[[str], None], column: str | None, skip_bad: bool
) -> dict[str, Requests]:
    """The texts of each side that is given. Raises InputError where both hold the same text."""
    texts = {
        name: read_requests(
            source,
            check,
            name=str(source) if isinstance(source, str | Path) else f"the {name} texts",
            column=column,
            skip_bad=skip_bad,
        )
        for name, source in given.items()
        if source is not None
    }
    if len(texts) == 2:
        benign = {text_id(text) for text in texts["benign"].texts}
        for text in texts["malicious"].texts:
            if text_id(text) in benign:
                names = " and in ".join(side.name for side in texts.values())
                raise InputError(f"{text!r} is in {names}: remove it from one of them.")
    return texts


def _check_needed(kinds: Sequence[Kind], texts: Mapping[str, Requests]) -> None:
    """Raise InputError where a kind lacks texts, or texts a kind."""
    if needing := [kind for kind in kinds if kind in REQUEST_KINDS and not texts]:
        raise InputError(f"{needing[0]} shows requests: give malicious texts, benign ones, or both.")
    if Kind.READING in kinds and "benign" not in texts:
        raise InputError("reading shows benign texts: give some, or leave the kind out.")
    if "malicious" in texts and not set(kinds) & set(REQUEST_KINDS):
        raise InputError(
            f"malicious texts are shown by the kinds {', '.join(REQUEST_KINDS)}: name at least one of them."
        )


def _divided(texts: Mapping[str, Requests], shares: Mapping[str, float], seed: int) -> list[list[list[str]]]:
    """The texts of each split, by side. Raises InputError where a split gets none of a side."""
    parts = divide([side.texts for side in texts.values()], list(shares.values()), seed)
    for name, part in zip(shares, parts, strict=True):
        for side, own in zip(texts.values(), part, strict=True):
            if not own:
                raise InputError(
                    f"{side.name}: {len(side.texts)} texts are too few, or too much alike, to be divided: the split "
                    f"{name} gets none. Give more, or draw one set: --split 1."
                )
    return parts


def _sides(texts: Mapping[str, Requests], part: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The malicious and the benign texts of a part, which has those of the sides that there are."""
    own = dict(zip(texts, map(tuple, part), strict=True))
    return own.get("malicious", ()), own.get("benign", ())


def _notes(texts: Mapping[str, Requests], parts: Sequence[DrawnSplit], kinds: Sequence[Kind]) -> Iterator[str]:
    for name, side in texts.items():
        for reason, count in side.left_out.items():
            yield f"{count} {name} texts left out: {reason}."
    if len(texts) == 2 and set(kinds) & set(REQUEST_KINDS):
        pairs = [pair for part in parts for pair in part.pairs]
        for name, side in texts.items():
            if unpaired := len(side.texts) - len(pairs):
                yield f"{unpaired} {name} texts are in no pair, and not drawn as requests."
        told = length_auroc(pairs)
        if abs(told - 0.5) > TELLING:
            yield (
                f"WARNING: the lengths of texts tell the malicious from the benign ones (AUROC {told:.2f}, 0.5 is "
                "chance), and a model may learn that instead of their meaning: give more benign texts, of like lengths."
            )


def length_auroc(pairs: Sequence[Sequence[str]]) -> float:
    """The chance that a malicious text is longer than a benign one; 0.5 tells nothing."""
    malicious, benign = zip(*((len(first), len(second)) for first, second in pairs), strict=True)
    return float(mannwhitneyu(malicious, benign).statistic) / len(pairs) ** 2
