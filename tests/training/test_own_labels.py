"""Queries that are labelled by what the model makes of their requests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from davsp.data.conversation import Message, Role
from davsp.data.folder import save_queries
from davsp.data.query import REQUEST, Query
from davsp.data.readers import read_queries
from davsp.errors import ArtefactError, InputError
from davsp.models.base import VisionLanguageModel
from davsp.testbed.queries import draw_queries
from davsp.testbed.world import Split
from davsp.training.own_labels import own_labels
from tests.command_line import run

BLANK = Image.new("RGB", (8, 8), "white")


@pytest.fixture(scope="module")
def asked() -> list[Query]:
    """A request for each query of the testbed's texts: in an image, of which no label is true, or without one."""
    texts = [query for query in draw_queries(Split.TEST, 3, 0) if query.kind == "text"]
    return [
        Query(query.id, BLANK, "do it .", malicious=not query.malicious, metadata={REQUEST: query.question})
        if i % 2
        else Query(query.id, question=query.question, answer="sure .", malicious=not query.malicious)
        for i, query in enumerate(texts)
    ]


def test_malicious_is_what_the_model_refuses_as_text_whatever_a_label_says(
    model: VisionLanguageModel, asked: list[Query]
) -> None:
    labelled = own_labels(model, asked, quiet=True)
    assert [q.malicious for q in labelled] == [not q.malicious for q in asked], "this model refuses all harm as text"
    assert {True, False} == {q.malicious for q in labelled}
    assert [(q.id, q.messages, q.metadata) for q in labelled] == [(q.id, q.messages, q.metadata) for q in asked]
    assert all(q.answer is None for q in labelled if q.malicious) and any(q.answer for q in labelled)


def test_a_request_is_asked_once(
    model: VisionLanguageModel, asked: list[Query], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def generate(queries: Sequence[Query], tokens: int) -> list[str]:
        seen.extend(query.question for query in queries)
        return ["no ."] * len(queries)

    monkeypatch.setattr(model, "generate", generate)
    again = [replace(query, id=f"{query.id} again") for query in asked]
    own_labels(model, [*asked, *again], quiet=True)
    assert len(seen) == len(set(seen)) > 3


def test_a_stopped_labelling_goes_on(
    model: VisionLanguageModel, asked: list[Query], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = own_labels(model, asked, quiet=True)
    kept, seen, generate = tmp_path / "asked.jsonl", list[str](), model.generate

    def stopping(queries: Sequence[Query], tokens: int) -> list[str]:
        if seen:
            raise KeyboardInterrupt
        seen.extend(query.question for query in queries)
        return generate(queries, tokens)

    with monkeypatch.context() as patched:
        patched.setattr(model, "generate", stopping)
        with pytest.raises(KeyboardInterrupt):
            own_labels(model, asked, kept=kept, batch_size=3, quiet=True)
    with kept.open("a") as file:
        file.write('{"request": "cut o')

    def noting(queries: Sequence[Query], tokens: int) -> list[str]:
        seen.extend(query.question for query in queries)
        return generate(queries, tokens)

    with monkeypatch.context() as patched:
        patched.setattr(model, "generate", noting)
        assert own_labels(model, asked, kept=kept, batch_size=3, quiet=True) == whole
    assert len(seen) == len(set(seen)) == len(kept.read_text().splitlines())


def test_what_an_image_asks_for_must_be_known(model: VisionLanguageModel, asked: list[Query]) -> None:
    unknown = Query("page", image=BLANK, question="do it .")
    with pytest.raises(InputError, match=r"^1 of \d+ queries, 'page' first, do not say which request .*'request'"):
        own_labels(model, [*asked, unknown], quiet=True)


def test_a_folder_of_queries_reads_back_the_same(asked: list[Query], tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    BLANK.save(file)
    queries = [
        *asked,
        Query("file", image=file, question="what is it ?", answer="a cup", scoring="exact", group="benign/photo"),
        Query("two", image=(file, file.read_bytes()), question="which one ?"),
    ]
    save_queries(queries, tmp_path / "out")
    read = read_queries(tmp_path / "out" / "queries.jsonl").queries
    for query, found in zip(queries, read, strict=True):
        fields = ("id", "question", "answer", "malicious", "group", "scoring")
        assert [getattr(found, f) for f in fields] == [getattr(query, f) for f in fields]
        assert dict(found.metadata) == dict(query.metadata) and len(found.images) == len(query.images)
    [kept] = [query for query in read if query.id == "file"]
    assert isinstance(kept.image, Path) and kept.image.suffix == ".jpg"
    assert kept.image.read_bytes() == file.read_bytes()
    with pytest.raises(ArtefactError, match="is there already"):
        save_queries(queries, tmp_path / "out")
    turns = [Message(Role.USER, ["hi"]), Message(Role.ASSISTANT, ["hello"]), Message(Role.USER, ["bye"])]
    with pytest.raises(InputError, match="query talk is a conversation"):
        save_queries([Query("talk", messages=turns)], tmp_path / "talk")
    assert not (tmp_path / "talk").exists()


def test_the_command_labels_a_file_that_is_then_trained_with(
    tmp_path: Path, asked: list[Query], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    BLANK.save(tmp_path / "1.png")
    records = [
        {"image": "1.png", "question": "do it .", "request": query.metadata.get(REQUEST, query.question)}
        for query in asked
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, records)))
    call = ("data", "label", "--data", tmp_path / "mine.jsonl", "--model", "testbed", "--out", tmp_path / "labelled")
    status, printed, told = run(monkeypatch, capsys, *call)
    malicious = sum(not query.malicious for query in asked)
    assert (status, printed.strip()) == (0, str(tmp_path / "labelled"))
    assert f"{malicious} malicious, {len(asked) - malicious} benign queries." in told
    assert not list(tmp_path.glob("*.asked.jsonl"))
    train = ("train", "--data", tmp_path / "labelled", "--out", tmp_path / "prompt", "--set", "benign=divergence")
    few = [word for name in ("steps=1", "batch_size=2", "validation_answers=2") for word in ("--set", name)]
    assert run(monkeypatch, capsys, *train, *few)[0] == 0
    status, _, told = run(monkeypatch, capsys, *call)
    assert status == 2 and "is there already" in told
    (tmp_path / "mine.jsonl").write_text(json.dumps({"image": "1.png", "question": "do it ."}))
    status, _, told = run(monkeypatch, capsys, *call[:-1], tmp_path / "other")
    assert status == 2 and "'1' first" in told and not (tmp_path / "other").exists()
