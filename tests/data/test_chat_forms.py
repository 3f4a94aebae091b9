"""Records in the forms of chat data: one question about one image, whoever wrote it."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from davsp.data.chat_forms import to_columns
from davsp.data.readers import read_queries
from davsp.errors import BadRecords, InputError

URI = "data:image/png;base64,iVBORw0KGgo="


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
    columns = to_columns(record)
    assert {k: columns[k].strip() for k in ("question", "image", "answer")} == {
        "question": "What colour?",
        "image": "a.png",
        "answer": "red",
    }
    assert not columns.keys() & {"messages", "conversations", "images"}


def test_an_openai_request_is_read_with_its_system_message_before_the_question() -> None:
    parts = [{"type": "image_url", "image_url": {"url": URI}}, {"type": "text", "text": "What colour?"}]
    columns = to_columns({"messages": [{"role": "system", "content": "Be brief."}, user(parts)], "malicious": True})
    assert columns == {"question": "Be brief.\nWhat colour?", "image": URI, "malicious": True}


def test_only_as_many_placeholders_are_taken_out_as_there_are_images() -> None:
    record = {"messages": [user("<image>What is <image> in HTML?")], "images": ["a.png"]}
    assert to_columns(record)["question"] == "What is <image> in HTML?"
    assert to_columns({"messages": [user("What is <image>?")]})["question"] == "What is <image>?"


def test_a_list_of_one_image_is_that_image_and_plain_records_stay_as_they_are() -> None:
    assert to_columns({"image": [{"bytes": b"x", "path": None}], "question": "?"})["image"] == {
        "bytes": b"x",
        "path": None,
    }
    assert to_columns({"images": ["a.png"], "question": "?"}) == {"image": "a.png", "question": "?"}
    plain = {"id": 3, "image": "a.png", "question": "?", "score": 0.5}
    assert to_columns(plain) == plain


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": [user("a"), ASSISTANT, user("b")], "image": "a.png"}, "has the turns user, assistant, user"),
        ({"messages": [], "image": "a.png"}, "has the turns none"),
        ({"messages": [user("a")], "images": ["a.png", "b.png"]}, "there are 2 images, and a query has one"),
        ({"images": ["a.png", "b.png"], "question": "?"}, "there are 2 images"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "of role 'tool'"),
        ({"messages": ["a"]}, "is no object but str"),
        ({"messages": [user([{"type": "input_audio"}])]}, "of type 'input_audio'"),
        ({"messages": [user([3])]}, "of type 'int'"),
        ({"messages": [user([{"type": "image_url", "image_url": "https://a.b/c.png"}])]}, "nothing is fetched"),
    ],
)
def test_what_is_no_single_question_about_one_image_is_refused_in_one_line(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        to_columns(record)
    assert "\n" not in str(caught.value)


def test_a_file_of_chats_is_read_and_a_bad_one_is_named_by_its_line(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (2, 2), "red").save(stream, "PNG")
    uri = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    good = {"messages": [user([{"type": "image_url", "image_url": {"url": uri}}, {"type": "text", "text": "What?"}])]}
    bad = {"messages": [user("a"), ASSISTANT, user("b")], "image": uri}
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(r | {"malicious": False}) + "\n" for r in (good, bad)))
    query = read_queries(path, skip_bad=True).queries[0]
    assert (query.question, query.image) == ("What?", stream.getvalue())
    with pytest.raises(BadRecords, match=r"line 2: the conversation has the turns"):
        read_queries(path)
