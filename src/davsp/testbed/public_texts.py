"""Queries of real language: harmful requests of public benchmarks, which a user has as files, and harmless ones, drawn.

The benchmarks' texts are for testing and training refusals only, and none comes with davsp.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from davsp.data.query import Query
from davsp.data.records import read_records
from davsp.drawing.kinds import REQUEST_KINDS, Kind, check_legible
from davsp.drawing.similar import divide, paired, without_duplicates_of
from davsp.drawing.split import DrawnSplit, draw_requests, draw_split
from davsp.drawing.texts import read_requests
from davsp.drawing.typefaces import SHIPPED
from davsp.errors import InputError
from davsp.testbed.harmless import everyday_requests, look_alikes
from davsp.testbed.sources import FOLDER_VARIABLE

HARMFUL: Mapping[str, tuple[str, ...]] = {
    "train": ("advbench.json", "malicious_instruct.json", "tdc2023.json"),
    "validation": ("strongreject.json",),
    "test": ("jailbreakbench.json", "harmbench_test.json"),
}
"""Whose harmful requests each split has: no benchmark is in two of them."""
HUMAN = ("self_instruct_seed.json", "self_instruct_user.json")
"""Harmless requests that people wrote (Self-Instruct, Apache-2.0)."""
XSTEST = "xstest_prompts.csv"
"""Safe prompts that look unsafe; a group of their own in the test split, where the folder has them."""
XSTEST_GROUP = "xstest"
HARMLESS_SHARES = (0.6, 0.2, 0.2)
"""Of harmless requests, by split."""
PER_KIND = {"train": 120, "validation": 40, "test": 100}
"""Malicious and benign queries of each kind, where nothing else is said."""
_PUBLISHED = "Most are files of github.com/andyrdt/refusal_direction; docs/data.md says where each is published."


@dataclass(frozen=True)
class PublicTexts:
    """Requests by split, and XSTest's safe prompts. No text, and no near-duplicate of it, is in two splits."""

    harmful: Mapping[str, tuple[str, ...]]
    harmless: Mapping[str, tuple[str, ...]]
    xstest: tuple[str, ...]


def draw_public_texts(folder: Path | None, split: str, per_kind: int | None, seed: int, side: int) -> list[Query]:
    """The queries of a split, drawn from the texts in a folder, by default that which FOLDER_VARIABLE names.

    `per_kind` bounds the malicious and the benign queries of each kind. Raises InputError where the folder, or a file
    in it, is missing.
    """
    texts = read_public_texts(folder or default_folder(), side)
    count = per_kind or PER_KIND[split]
    part = DrawnSplit(split, texts.harmful[split], texts.harmless[split], count, seed)
    queries = draw_split(part, tuple(Kind), side, SHIPPED)
    if split == "test":
        prompts = list(texts.xstest)
        random.Random(seed).shuffle(prompts)  # noqa: S311 - a choice of samples, no secret
        alone = DrawnSplit(split, (), tuple(prompts), count, seed)
        for i, prompt in enumerate(prompts[:count]):
            kind = REQUEST_KINDS[i % len(REQUEST_KINDS)]
            [query] = draw_requests(alone, kind, f"{split}-{XSTEST_GROUP}-{i:05d}", (prompt,), side, SHIPPED)
            queries.append(replace(query, group=XSTEST_GROUP))
    return queries


@cache
def read_public_texts(folder: Path, side: int) -> PublicTexts:
    """The texts in a folder that are legible in images of a side, divided. Raises InputError for files that are missing
    or cannot be read."""

    def check(text: str) -> None:
        SHIPPED.check(text)
        for kind in Kind:
            check_legible(kind, text, side, SHIPPED)

    def read(*names: str) -> list[str]:
        found = [text for name in names for text in read_requests(_located(folder, name), check, skip_bad=True).texts]
        return list(dict.fromkeys(found))

    harmful = {split: read(*names) for split, names in HARMFUL.items()}
    harmful["validation"] = without_duplicates_of(harmful["test"], harmful["validation"])
    harmful["train"] = without_duplicates_of([*harmful["test"], *harmful["validation"]], harmful["train"])
    xstest = _xstest(folder, check)
    own = read_requests([*everyday_requests(), *look_alikes()], check, skip_bad=True).texts
    pool = without_duplicates_of(xstest, list(dict.fromkeys([*own, *read(*HUMAN)])))
    harmless = divide([pool], HARMLESS_SHARES, seed=0)
    return PublicTexts(
        {split: tuple(texts) for split, texts in harmful.items()},
        {split: tuple(texts) for split, [texts] in zip(HARMFUL, harmless, strict=True)},
        xstest,
    )


def text_pairs(texts: PublicTexts, split: str, count: int, seed: int) -> list[tuple[str, str]]:
    """So many pairs of a harmful text and a harmless one of like length, or fewer where there are no more: beyond the
    harmful texts of a split, each comes again with another harmless one."""
    pairs: list[tuple[str, str]] = []
    left = list(texts.harmless[split])
    while len(pairs) < count and (found := paired(texts.harmful[split], left, seed + len(pairs))):
        pairs += found
        used = {harmless for _, harmless in found}
        left = [text for text in left if text not in used]
    return pairs[:count]


def default_folder() -> Path:
    """The folder that FOLDER_VARIABLE names. Raises InputError where it names none."""
    named = os.environ.get(FOLDER_VARIABLE)
    if not named:
        raise InputError(
            f"smol draws from public texts, which do not come with davsp: name a folder that holds {_names()}, with "
            f"smol=FOLDER, --texts FOLDER of a command that has it, or in the environment variable {FOLDER_VARIABLE}. "
            f"{_PUBLISHED}"
        )
    return Path(named)


def _located(folder: Path, name: str) -> Path:
    """The file of that name in a folder, or in the first folder within it."""
    if not folder.is_dir():
        raise InputError(
            f"smol draws from the texts in {folder}, which is no folder. Name one that holds {_names()}. {_PUBLISHED}"
        )
    if found := _found(folder, name):
        return found
    raise InputError(f"{folder} holds no {name}, from which smol draws. It needs {_names()}. {_PUBLISHED}")


def _found(folder: Path, name: str) -> Path | None:
    return min(folder.rglob(name), key=lambda path: (len(path.parts), path), default=None)


def _names() -> str:
    return ", ".join([*(name for names in HARMFUL.values() for name in names), *HUMAN])


def _xstest(folder: Path, check: Callable[[str], None]) -> tuple[str, ...]:
    path = _found(folder, XSTEST)
    if path is None:
        return ()
    records = [record for _, record in read_records(path) if isinstance(record, dict)]
    safe = [str(record.get("prompt") or "") for record in records if record.get("label") == "safe"]
    return read_requests(safe, check, name=str(path), skip_bad=True).texts
