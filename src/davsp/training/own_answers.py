"""What a model itself answers, undefended: what queries that bring no answer are trained towards."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from davsp.data.digests import digest
from davsp.data.query import Query
from davsp.errors import MALFORMED, ArtefactError
from davsp.judges.refusal import is_refusal
from davsp.models.base import VisionLanguageModel
from davsp.models.requests import Request
from davsp.training.batches import REFUSAL, Target
from davsp.training.twins import text_twins
from davsp.util.batching import batched
from davsp.util.files import parse_json, write_json
from davsp.util.processes import processes
from davsp.util.progress import bar

PROBES = 64
"""So many malicious requests are asked to hear how the model refuses."""
BATCH = 64


def own_targets(
    model: VisionLanguageModel, queries: Sequence[Query], tokens: int, file: Path | None = None, *, quiet: bool = False
) -> dict[str, Target]:
    """By id, what the queries without an answer are trained towards.

    A benign query: the first `tokens` tokens of the model's own greedy answer. A malicious one: the refusal that the
    model gives most often to malicious requests asked as text, where these are known, else to malicious queries as they
    are; where it refuses none, REFUSAL. With `file`, the answers are kept there, and read from there for the same
    queries, model and number of tokens. Raises ArtefactError where it is damaged.
    """
    lacking = [query for query in queries if not query.answer]
    if not lacking:
        return {}
    identity = hashlib.sha256(repr((digest(lacking), model.identity, model.canvas, tokens)).encode()).hexdigest()
    if file and file.is_file() and (found := _read(file, identity)):
        return found
    benign = [query for query in lacking if not query.malicious]
    malicious = [query for query in lacking if query.malicious]
    probes = (text_twins(malicious) or malicious)[:PROBES]
    with bar("The model's own answers", len(benign) + len(probes), quiet=quiet) as advance:
        answers = [
            target for batch in batched([*benign, *probes], BATCH) for target in _answers(model, batch, tokens, advance)
        ]
    refusals = Counter(target for target in answers[len(benign) :] if is_refusal(target.text))
    refusal = refusals.most_common(1)[0][0] if refusals else Target(REFUSAL)
    own = {query.id: target for query, target in zip(benign, answers, strict=False)}
    own |= dict.fromkeys((query.id for query in malicious), refusal)
    if file and processes().is_main:
        write_json(file, {"identity": identity, "answers": {name: asdict(target) for name, target in own.items()}})
    return own


def _answers(
    model: VisionLanguageModel, batch: Sequence[Query], tokens: int, advance: Callable[[int], None]
) -> list[Target]:
    responses = model.respond([Request(query.messages) for query in batch], tokens)
    advance(len(batch))
    # What is cut off within a character ends in one that the model never wrote.
    return [Target(r.text if r.finished else r.text.rstrip("\ufffd"), r.finished) for r in responses]


def _read(file: Path, identity: str) -> dict[str, Target] | None:
    """What a file holds; None where it is of other ones."""
    try:
        saved = parse_json(file.read_text("utf-8"))
        if saved["identity"] != identity:
            return None
        return {name: Target(str(said["text"]), bool(said["finished"])) for name, said in saved["answers"].items()}
    except MALFORMED as error:
        raise ArtefactError(f"{file} is damaged: delete it, and it is made again.") from error
