"""What is understood of a request, and what is refused because it is not."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from davsp.serving.contents import read_chat, read_completions, read_responses
from davsp.serving.refused import RequestRefused

URI = "data:image/png;base64,AAAA"
IMAGE = {"type": "image_url", "image_url": {"url": URI, "detail": "high"}}
FLAT = {"type": "input_image", "image_url": URI}
TEXT = {"type": "text", "text": "what is it ?"}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def test_every_image_of_every_turn_is_found_in_its_order() -> None:
    second = copy.deepcopy(IMAGE) | {"image_url": "data:image/png;base64,BBBB"}
    body = {
        "messages": [
            {"role": "system", "content": "be brief"},
            user(IMAGE, TEXT, second),
            {"role": "assistant", "content": "a dog"},
            {"role": "tool", "tool_call_id": "1", "content": [FLAT]},
            user({"type": "text", "text": "and now ?"}),
        ]
    }
    found = read_chat(body)
    assert [(slot.url[-4:], slot.from_user) for slot in found.images] == [
        ("AAAA", True),
        ("BBBB", True),
        ("AAAA", False),
    ]
    assert found.last is not None and found.last.text == "and now ?"
    found.images[1].fill("data:new")
    assert body["messages"][1]["content"][2]["image_url"] == "data:new"


def test_the_last_texts_are_replaced_where_they_stand() -> None:
    def filled(*parts: Any, texts: list[str]) -> Any:
        body = {"messages": [user(*copy.deepcopy(parts))]}
        last = read_chat(body).last
        assert last is not None
        last.fill(texts)
        return body["messages"][0]["content"]

    where = {"type": "text", "text": "where ?"}
    assert filled(TEXT, IMAGE, where, texts=["a", "b"]) == [TEXT | {"text": "a"}, IMAGE, where | {"text": "b"}]
    assert filled(TEXT, IMAGE, where, texts=["a"]) == [TEXT | {"text": "a"}, IMAGE]
    assert filled(IMAGE, texts=["a"]) == [IMAGE, {"type": "text", "text": "a"}]
    assert filled(IMAGE, texts=[]) == [IMAGE]
    plain = {"messages": [{"role": "user", "content": "hello"}]}
    last = read_chat(plain).last
    assert last is not None and last.texts == ["hello"]
    last.fill(["a"])
    assert plain["messages"][0]["content"] == "a"


def test_responses_bring_images_in_messages_outputs_of_tools_and_screenshots() -> None:
    body = {
        "input": [
            {"role": "user", "content": [FLAT, {"type": "input_text", "text": "what ?"}]},
            {"type": "function_call", "name": "look", "arguments": "{}", "call_id": "1"},
            {"type": "function_call_output", "call_id": "1", "output": [FLAT]},
            {"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": URI}},
        ]
    }
    found = read_responses(body)
    assert [slot.from_user for slot in found.images] == [True, False, False]
    assert found.last is not None and found.last.text == "what ?"
    text: dict[str, Any] = {"input": "hello", "previous_response_id": "r"}
    found = read_responses(text)
    assert found.goes_on and found.last is not None
    found.last.fill(["HELLO"])
    assert text["input"] == "HELLO"


@pytest.mark.parametrize(
    "kept", [{"prompt": {"id": "p"}}, {"conversation": "c"}, {"input": [{"type": "item_reference"}]}]
)
def test_what_the_server_keeps_may_hold_images(kept: dict[str, Any]) -> None:
    assert read_responses({"input": "hello"} | kept).goes_on
    assert not read_responses({"input": "hello"}).goes_on


@pytest.mark.parametrize(
    "part",
    [
        {"type": "video_url", "video_url": {"url": URI}},
        {"type": "image", "image": URI},
        {"type": "image_embeds", "image_embeds": "AAAA"},
        {"type": "file", "file": {"file_data": URI}},
        {"image_url": {"url": URI}},
        {"type": "text", "text": "hi", "image_url": URI},
        {"type": "text", "text": {"image_url": URI}},
        {"type": "input_image", "file_id": "file-1"},
        {"type": "image_url", "image_url": {"url": URI}, "uuid": "1"},
        {"type": "image_url", "image_url": {"url": URI, "max_dynamic_patch": 1}},
        {"type": "image_url", "image_url": {"url": None}},
        {"type": "image_url", "image_url": [URI]},
        "data:image/png;base64,AAAA",
        ["nested"],
    ],
    ids=str,
)
def test_a_part_that_is_not_understood_is_refused(part: Any) -> None:
    for read, body in (
        (read_chat, {"messages": [user(TEXT, part)]}),
        (read_responses, {"input": [user(part)]}),
    ):
        with pytest.raises(RequestRefused) as refused:
            read(body)
        assert refused.value.status == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"mm_processor_kwargs": {"max_pixels": 9}},
        {"chat_template": "{{ messages }}"},
        {"chat_template_kwargs": {"chat_template": "{{ messages }}"}},
        {"images": [URI]},
        {"extra": {"deep": [{"type": "image_url", "image_url": {"url": URI}}]}},
        {"prompt_embeds": "AAAA"},
        {"messages": [user(TEXT) | {"images": [URI]}]},
        {"messages": [{"role": "user", "content": {"type": "image_url", "image_url": URI}}]},
        {"messages": {"role": "user"}},
        {"messages": ["text"]},
    ],
    ids=str,
)
def test_a_field_that_may_lead_past_the_defence_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(RequestRefused):
        read_chat({"messages": [user(TEXT)], **fields})


def test_items_and_prompts_that_are_not_understood_are_refused() -> None:
    for item in ({"type": "image_generation_call", "result": "AAAA"}, {"type": "new"}, "text"):
        with pytest.raises(RequestRefused):
            read_responses({"input": [item]})
    with pytest.raises(RequestRefused):
        read_completions({"prompt": "hi", "image_data": URI})
    assert read_completions({"prompt": ["a", "b"], "max_tokens": 3}).images == []


def test_schemas_whose_names_users_choose_are_no_images() -> None:
    tool = {"type": "function", "function": {"parameters": {"properties": {"image_url": {"type": "string"}}}}}
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"image": 1}'}}
    messages = [user(TEXT), {"role": "assistant", "content": None, "tool_calls": [call]}]
    body = {"messages": messages, "tools": [tool], "metadata": {"image": "yes"}, "logit_bias": {"1": 2}}
    assert read_chat(body).images == []
