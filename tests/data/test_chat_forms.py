"""Records in the forms of chat data, whoever wrote them: one question about one image, or a whole conversation."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from davsp.data.chat_forms import read_turns
from davsp.data.conversation import Message
from davsp.data.query import Query
from davsp.data.readers import read_queries
from davsp.errors import BadRecords, InputError


def user(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


ASSISTANT = {"role": "assistant", "content": "red"}
TEXT = {"type": "text", "text": "What colour?"}
LLAVA = {"from": "human", "value": "<image>\nWhat colour?"}


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [user("<image>What colour?"), ASSISTANT], "images": ["a.png"]},
        {"messages": [user("<image>\nWhat colour?"), ASSISTANT], "image": "a.png"},
        {"messages": [user("What colour?\n<image>"), ASSISTANT], "images": ["a.png"]},
        {"messages": [user([{"type": "image"}, TEXT]), ASSISTANT], "images": ["a.png"]},
        {"messages": [user([{"type": "image", "image": "a.png"}, TEXT]), ASSISTANT]},
        {"conversations": [LLAVA, {"from": "gpt", "value": "red"}], "image": "a.png"},
    ],
)
def test_a_question_its_image_and_its_answer_are_found(record: dict[str, Any]) -> None:
    columns, turns = read_turns(record)
    assert {k: columns[k].strip() for k in ("question", "image", "answer")} == {
        "question": "What colour?",
        "image": "a.png",
        "answer": "red",
    }
    assert not turns
    assert not columns.keys() & {"messages", "conversations", "images"}


def test_only_as_many_placeholders_are_taken_out_as_there_are_images() -> None:
    record = {"messages": [user("<image>What is <image> in HTML?")], "images": ["a.png"]}
    assert read_turns(record)[0]["question"] == "What is <image> in HTML?"
    [turn] = read_turns({"messages": [user("What is <image>?")]})[1]
    assert turn.parts == ["What is <image>?"]


def test_a_list_of_one_image_is_that_image_and_plain_records_stay_as_they_are() -> None:
    assert read_turns({"image": [{"bytes": b"x", "path": None}], "question": "?"})[0]["image"] == {
        "bytes": b"x",
        "path": None,
    }
    assert read_turns({"images": ["a.png"], "question": "?"}) == ({"image": "a.png", "question": "?"}, [])
    plain = {"id": 3, "image": "a.png", "question": "?", "score": 0.5}
    assert read_turns(plain) == (plain, [])


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": [user("a"), ASSISTANT, {"role": "system", "content": "b"}]}, "has the turns user, assistant, sy"),
        ({"messages": [], "image": "a.png"}, "has the turns none"),
        ({"messages": [ASSISTANT], "image": "a.png"}, "has the turns none"),
        ({"messages": [{"role": "critic", "content": "a"}]}, "of role 'critic'"),
        ({"messages": ["a"]}, "is no object but str"),
        ({"messages": [user([{"type": "input_audio"}])]}, "of type 'input_audio'"),
        ({"messages": [user([3])]}, "of type 'int'"),
        ({"messages": [user([{"type": "image"}, TEXT])]}, "marks the place of an image, and there is none"),
        ({"messages": [user([{"type": "image_url", "image_url": "https://a.b/c.png"}])]}, "nothing is fetched"),
        ({"messages": [user("a"), {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]}, "calls tools"),
    ],
)
def test_what_is_no_conversation_to_be_answered_is_refused_in_one_line(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        read_turns(record)
    assert "\n" not in str(caught.value)


# Whole conversations, as queries


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "green")):
        Image.new("RGB", (2, 2), colour).save(tmp_path / f"{name}.png")
    return tmp_path


def read(folder: Path, record: dict[str, Any]) -> Query:
    (folder / "chats.jsonl").write_text(json.dumps({"malicious": False} | record) + "\n")
    [query] = read_queries(folder / "chats.jsonl").queries
    return query


def test_openai_messages_keep_roles_turns_and_the_places_of_images(folder: Path) -> None:
    uri = "data:image/png;base64," + base64.b64encode((folder / "c.png").read_bytes()).decode()
    asked = [
        {"role": "system", "content": "Be brief."},
        user([{"type": "image_url", "image_url": {"url": uri}}, TEXT, {"type": "image_url", "image_url": "a.png"}]),
        ASSISTANT,
        user("And the other?"),
        {"role": "assistant", "content": "green"},
    ]
    query = read(folder, {"messages": asked})
    assert query.answer == "green"
    assert query.messages == (
        Message("system", "Be brief."),
        Message("user", ((folder / "c.png").read_bytes(), "What colour?", folder / "a.png")),
        Message("assistant", "red"),
        Message("user", "And the other?"),
    )
    assert query.question == "And the other?"


def test_a_system_turn_stays_one(folder: Path) -> None:
    parts = [{"type": "image_url", "image_url": "a.png"}, TEXT]
    query = read(folder, {"messages": [{"role": "system", "content": "Be brief."}, user(parts)]})
    assert query.messages == (
        Message("system", "Be brief."),
        Message("user", (folder / "a.png", "What colour?")),
    )


def test_llavas_placeholders_are_the_places_of_its_images_and_what_has_none_comes_first(folder: Path) -> None:
    turns = [
        {"from": "human", "value": "<image>\nand <image>\nwhich is red?"},
        {"from": "gpt", "value": "The first."},
        {"from": "human", "value": "Sure about <image>?"},
    ]
    query = read(folder, {"conversations": turns, "images": ["a.png", "b.png"]})
    a, b, c = (folder / f"{name}.png" for name in "abc")
    assert query.messages == (
        Message("user", (a, "and", b, "which is red?")),
        Message("assistant", "The first."),
        Message("user", "Sure about <image>?"),
    )
    unplaced = read(folder, {"messages": [user("Which is red?")], "images": ["a.png", "b.png", "c.png"]})
    assert unplaced.messages == (Message("user", (a, b, c, "Which is red?")),)


def test_several_images_of_a_plain_record_stand_before_its_question(folder: Path) -> None:
    query = read(folder, {"images": ["a.png", "b.png"], "question": "Which is red?"})
    assert query.messages == (Message("user", (folder / "a.png", folder / "b.png", "Which is red?")),)


def test_a_question_without_an_image_says_so_by_an_empty_list_or_in_a_conversation(folder: Path) -> None:
    asked = (Message("user", "What is red?"),)
    assert read(folder, {"images": [], "question": "What is red?"}).messages == asked
    assert read(folder, {"messages": [user("What is red?")]}).messages == asked


def test_a_turn_that_says_and_shows_nothing_is_refused(folder: Path) -> None:
    with pytest.raises(BadRecords, match="line 1: a turn of the user is empty"):
        read(folder, {"messages": [user("a"), ASSISTANT, user(" ")]})


def test_a_file_of_chats_is_read_and_a_bad_one_is_named_by_its_line(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (2, 2), "red").save(stream, "PNG")
    uri = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    good = {"messages": [user([{"type": "image_url", "image_url": {"url": uri}}, {"type": "text", "text": "What?"}])]}
    bad = {"messages": [ASSISTANT, ASSISTANT], "image": uri}
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(r | {"malicious": False}) + "\n" for r in (good, bad)))
    query = read_queries(path, skip_bad=True).queries[0]
    assert (query.question, query.image) == ("What?", stream.getvalue())
    with pytest.raises(BadRecords, match=r"line 2: the conversation has the turns assistant"):
        read_queries(path)
