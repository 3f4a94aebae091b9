"""An attack as a folder: read by others, gone on with after a stop, and never mixed with another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from davsp.attacks.base import Attack, Attacked
from davsp.attacks.pgd import Pgd, PgdOptions
from davsp.attacks.running import DONE, QUERIES, read_attack, run_attack
from davsp.attacks.variants import VariantOptions
from davsp.attacks.wording import Wording
from davsp.data.conversation import Message
from davsp.data.query import Query
from davsp.data.sources import read_source
from davsp.defences.textual import SafetyPrefix
from davsp.errors import ArtefactError, InputError
from davsp.imaging.opening import open_image
from davsp.models.base import VisionLanguageModel

PLAYS = VariantOptions(variants="role-play")


class Stopping(Wording):
    """Fails after two queries, as a killed process does."""

    count = 0

    def attack(self, queries: Sequence[Query]) -> list[Attacked]:
        type(self).count += len(queries)
        if type(self).count > 2:
            raise MemoryError
        return super().attack(queries)


def written(folder: Path) -> list[bytes]:
    return [(folder / QUERIES).read_bytes(), *(file.read_bytes() for file in sorted(folder.glob("images/*.png")))]


def test_a_folder_is_read_as_queries_with_their_label_answer_and_metadata(
    malicious: list[Query], tmp_path: Path
) -> None:
    benign = replace(malicious[0], id="benign", malicious=False, group="benign/sd", metadata={"request": "a request"})
    found = run_attack(Wording, PLAYS, [*malicious, benign], tmp_path / "a", quiet=True)
    read = read_source(str(tmp_path / "a")).queries
    assert read == found.queries and len(read) == len(malicious) + 1
    for query, rewritten in zip([*malicious, benign], read, strict=True):
        assert query.question in rewritten.question != query.question
        assert open_image(rewritten.image).tobytes() == open_image(query.image).tobytes()
        kept = replace(rewritten, messages=query.messages, metadata=query.metadata)
        assert kept == query
        assert rewritten.metadata == {**query.metadata, "attack": "wording", "variant": "role-play"}
    assert read_attack(tmp_path / "a") == found.facts
    assert (found.facts.queries, found.facts.against, found.facts.model) == (len(malicious) + 1, (), None)


def test_what_was_done_before_a_stop_is_kept_and_the_end_is_that_of_an_unbroken_run(
    malicious: list[Query], tmp_path: Path
) -> None:
    with pytest.raises(MemoryError):
        run_attack(Stopping, PLAYS, malicious, tmp_path / "a", batch_size=2, quiet=True)
    assert not (tmp_path / "a" / QUERIES).exists()
    done = (tmp_path / "a" / DONE).read_text()
    assert done.count("\n") == 2
    (tmp_path / "a" / DONE).write_text(done + '{"id": "cut o')
    run_attack(Wording, PLAYS, malicious, tmp_path / "a", batch_size=2, quiet=True)
    assert (tmp_path / "a" / DONE).read_text().startswith(done)
    run_attack(Wording, PLAYS, malicious, tmp_path / "b", quiet=True)
    assert written(tmp_path / "a") == written(tmp_path / "b")


def test_another_attack_does_not_go_into_the_same_folder(malicious: list[Query], tmp_path: Path) -> None:
    run_attack(Wording, PLAYS, malicious[:1], tmp_path / "a", quiet=True)
    for seed, queries, variants in (
        (1, malicious[:1], "role-play"),
        (0, malicious[:2], "role-play"),
        (0, malicious[:1], "rot13"),
    ):
        with pytest.raises(ArtefactError, match="holds another attack"):
            run_attack(Wording, VariantOptions(variants=variants), queries, tmp_path / "a", seed=seed, quiet=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    with pytest.raises(ArtefactError, match="something else than an attack"):
        run_attack(Wording, PLAYS, malicious, tmp_path / "b", quiet=True)


def test_an_attack_on_the_model_tells_its_budget_and_leaves_benign_queries_out(
    model: VisionLanguageModel, malicious: list[Query], tmp_path: Path
) -> None:
    benign = replace(malicious[0], id="benign", malicious=False)
    found = run_attack(
        Pgd,
        PgdOptions(steps=3, eps=16),
        [benign, *malicious],
        tmp_path / "a",
        model=model,
        against=[SafetyPrefix()],
        quiet=True,
    )
    assert all(query.malicious for query in found.queries) and len(found.queries) == len(malicious)
    facts, entries = found.facts, [json.loads(line) for line in (tmp_path / "a" / DONE).read_text().splitlines()]
    assert (facts.against, facts.model, facts.options["eps"]) == (("prefix",), model.name, 16)
    assert facts.calls == sum(entry["calls"] for entry in entries) > 0
    assert list(facts.withstood) == [0, 1, 2, 3]
    rates = [rate.rate for rate in facts.withstood.values() if rate.rate is not None]
    assert rates == sorted(rates, reverse=True) and all(rate.n == len(malicious) for rate in facts.withstood.values())
    assert rates[-1] == sum(entry["broken_at"] is None for entry in entries) / len(entries)


@pytest.mark.parametrize(("kind", "told"), [(Pgd, "no malicious query among 1"), (Wording, "leave out --against")])
def test_what_cannot_be_attacked_so_is_told(
    kind: type[Attack], told: str, malicious: list[Query], tmp_path: Path
) -> None:
    benign = replace(malicious[0], malicious=False)
    with pytest.raises(InputError, match=told):
        run_attack(kind, kind.Options(), [benign], tmp_path / "a", against=[SafetyPrefix()], quiet=True)


def test_earlier_turns_are_not_lost_in_silence(malicious: list[Query], tmp_path: Path) -> None:
    talk = malicious[0].saying((Message("user", "hello"), Message("assistant", "yes ?"), *malicious[0].messages))
    with pytest.raises(InputError, match="has 3 turns: attacks rewrite single questions"):
        run_attack(Wording, Wording.Options(), [malicious[1], talk], tmp_path / "a", quiet=True)
    assert not (tmp_path / "a").exists()
