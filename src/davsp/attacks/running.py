"""An attack on a set of queries, query by query into a folder that `evaluate` and other tools read.

queries.jsonl   the rewritten queries, once all are done
images/         their images
attack.json     what the attack was, against what, and what it took
attacked.jsonl  a line for every query that was attacked: what it took, and what became of it
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from davsp.attacks.base import Attack, Attacked, Knowledge
from davsp.attacks.pipeline import Pipeline
from davsp.data.digests import digest
from davsp.data.query import Query
from davsp.data.readers import read_queries
from davsp.defences.base import Defence
from davsp.defences.textual import Undefended
from davsp.errors import ArtefactError, InputError
from davsp.imaging.opening import open_image, png_bytes
from davsp.models.base import VisionLanguageModel
from davsp.rates import Rate
from davsp.results import AttackFacts, read_checked
from davsp.training.run_state import Interrupted, interruptible
from davsp.util.batching import batched
from davsp.util.files import (
    append_line,
    check_same_run,
    kept_lines,
    make_folder,
    read_json,
    write_bytes,
    write_json,
    write_text,
)
from davsp.util.progress import bar
from davsp.util.provenance import Provenance

QUERIES, FACTS, DONE = "queries.jsonl", "attack.json", "attacked.jsonl"


@dataclass(frozen=True)
class AttackedQueries:
    """What came of an attack: the rewritten queries, as they lie in its folder, and its facts."""

    queries: tuple[Query, ...]
    facts: AttackFacts
    folder: Path


def run_attack(
    kind: type[Attack],
    options: BaseModel,
    queries: Sequence[Query],
    folder: Path,
    *,
    model: VisionLanguageModel | None = None,
    against: Sequence[Defence] = (),
    batch_size: int = 16,
    seed: int = 0,
    quiet: bool = False,
) -> AttackedQueries:
    """Attack queries with an attack of these options, and write what comes of it into `folder`, going on from what is
    there.

    `against`: the defences that are known and are all to give in; none for an attacker who knows the model alone. An
    attack that reads the model rewrites malicious queries and leaves out the others.

    Raises InputError where there is nothing to attack or it cannot be attacked so, ArtefactError where the folder holds
    another attack, and Interrupted on Ctrl-C, with all that is done saved.
    """
    chosen = attacked_by(kind, queries)
    if against and not kind.reads_model:
        raise InputError(f"{kind.kind} knows nothing of the model, and so of no defence: leave out --against.")
    knowledge = Knowledge()
    if kind.reads_model and model is not None:
        knowledge = Knowledge(model, tuple(Pipeline(model, defence) for defence in against or [Undefended()]))
    attack = kind(options, knowledge, seed)
    facts = _facts(attack, len(chosen))
    identity = {
        **facts.model_dump(mode="json", include={"name", "options", "against", "model", "seed"}),
        "pipelines": [hashlib.sha256(p.identity.encode()).hexdigest() for p in knowledge.pipelines],
        "weights": model.identity if knowledge.model is not None and model else None,
        "data": digest(chosen),
    }
    if (folder / FACTS).is_file():
        saved = read_json(folder / FACTS, "")
        check_same_run(folder, "another attack", saved.get("identity", {}) if isinstance(saved, dict) else {}, identity)
    elif folder.is_dir() and any(folder.iterdir()):
        raise ArtefactError(f"{folder} holds something else than an attack: choose another output folder.")
    if not (folder / QUERIES).is_file():
        make_folder(folder / "images")
        write_json(folder / FACTS, {"identity": identity, **facts.model_dump(mode="json")})
        done = _attack_all(attack, chosen, folder, batch_size, quiet)
        facts = _facts(attack, len(chosen), done)
        write_json(folder / FACTS, {"identity": identity, **facts.model_dump(mode="json")})
        lines = [json.dumps(record, ensure_ascii=False) for entry in done for record in entry["queries"]]
        write_text(folder / QUERIES, "\n".join(lines) + "\n")
    found = read_attack(folder)
    assert found is not None
    return AttackedQueries(read_queries(folder / QUERIES).queries, found, folder)


def attacked_by(kind: type[Attack], queries: Sequence[Query]) -> list[Query]:
    """The queries that an attack rewrites: the malicious ones, or all. Raises InputError where there is none, and for
    one of several turns, of which a rewritten one would keep the last alone."""
    chosen = [query for query in queries if query.malicious or not kind.reads_model]
    for query in chosen:
        if len(query.messages) > 1:
            raise InputError(f"query {query.id} has {len(query.messages)} turns: attacks rewrite single questions.")
    if not chosen:
        raise InputError(f"there is no malicious query among {len(queries)}: {kind.kind} has nothing to attack.")
    return chosen


def read_attack(folder: Path) -> AttackFacts | None:
    """What a folder's attack was; None for a folder that holds none. Raises InputError for facts that are damaged."""
    path = folder / FACTS
    return read_checked(path, AttackFacts, f"{folder} holds no attack") if path.is_file() else None


def _attack_all(attack: Attack, queries: Sequence[Query], folder: Path, batch_size: int, quiet: bool) -> list[Any]:
    """The entries of all queries, in order, of which those that are there already are kept."""
    entries = kept_lines(folder / DONE, "id")
    left = [query for query in queries if query.id not in entries]
    numbers = count(sum(len(entry["queries"]) for entry in entries.values()))
    title = f"Attacking by {attack.kind}"
    with bar(title, len(queries), done=len(queries) - len(left), quiet=quiet) as advance, interruptible() as stopped:
        if left:
            attack.prepare(queries, folder, quiet)
        for batch in batched(left, batch_size):
            began = time.monotonic()
            made = attack.attack(batch)
            seconds = (time.monotonic() - began) / len(batch)
            for query, attacked in zip(batch, made, strict=True):
                entry = _entry(attack, query, attacked, seconds, folder, numbers)
                append_line(folder / DONE, json.dumps(entry, ensure_ascii=False))
                entries[query.id] = entry
            if any(entry["broken_at"] is not None for entry in entries.values()):
                won = sum(entry["broken_at"] is not None for entry in entries.values())
                advance.tell(f"{won} of {len(entries)} broken")
            advance(len(batch))
            if stopped():
                raise Interrupted(len(entries))
    return [entries[query.id] for query in queries]


def _entry(
    attack: Attack, query: Query, attacked: Attacked, seconds: float, folder: Path, numbers: Any
) -> dict[str, Any]:
    records = []
    for rewritten in attacked.queries:
        image = f"images/{next(numbers):05d}.png"
        source = rewritten.image
        content = source if isinstance(source, bytes) else png_bytes(open_image(source, what=query.id))
        write_bytes(folder / image, content)
        own = rewritten.as_record(image)
        more = {k: v for k, v in {**rewritten.metadata, "attack": attack.kind}.items() if k not in own}
        records.append({k: v for k, v in (own | more).items() if v is not None})
    return {
        "id": query.id,
        "steps": attacked.steps,
        "calls": attacked.calls,
        "broken_at": attacked.broken_at,
        "seconds": round(seconds, 3),
        "queries": records,
    }


def _facts(attack: Attack, queries: int, done: Sequence[Any] = ()) -> AttackFacts:
    """What is said of an attack before it begins, and of one that is `done`."""
    knowledge = attack.knowledge
    broken = [entry["broken_at"] for entry in done]
    most = max((entry["steps"] for entry in done), default=0)
    marks = _marks(most) if attack.traces else [most] if attack.reads_model else []
    return AttackFacts(
        name=attack.kind,
        options=attack.options.model_dump(mode="json"),
        against=tuple(pipeline.name for pipeline in knowledge.pipelines),
        model=knowledge.model.name if knowledge.model is not None else None,
        seed=attack.seed,
        queries=queries,
        steps=sum(entry["steps"] for entry in done),
        calls=sum(entry["calls"] for entry in done),
        seconds=round(sum(entry["seconds"] for entry in done), 1),
        withstood={step: Rate.of(sum(at is None or at > step for at in broken), len(broken)) for step in marks if done},
        provenance=Provenance.now() if done else None,
    )


def _marks(most: int) -> list[int]:
    """0, 1, 2, 5, 10, 20, 50 ... and the last step."""
    marks = [0, *(base * 10**power for power in range(7) for base in (1, 2, 5))]
    return [mark for mark in marks if mark < most] + [most]


def say_budget(facts: AttackFacts) -> str:
    """What an attack took, as a line for a user."""
    against = f" against {', '.join(facts.against)}" if facts.against else ""
    took = f", {facts.steps:,} steps and {facts.calls:,} calls of the model" if facts.calls else ""
    return f"{facts.name}{against}: {facts.queries} queries attacked in {facts.seconds:.0f} s{took}."
