"""Conversations: the short form is one of one message, and what rewrites it keeps all else."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from PIL import Image

from davsp.data.conversation import Message, Role, with_images, with_text_after, with_text_before, without_images
from davsp.data.digests import digest
from davsp.data.query import Query
from davsp.errors import InputError

RED, BLUE, GREEN = (Image.new("RGB", (2, 2), colour) for colour in ("red", "blue", "green"))
TALK = Query(
    "talk",
    messages=[
        Message("system", "Be brief."),
        Message("user", (RED, "What is this?")),
        Message("assistant", "A red one."),
        Message("user", ("And", BLUE, "this", GREEN)),
    ],
)


def test_image_and_question_are_a_conversation_of_one_message() -> None:
    query = Query("q", RED, "What?")
    assert query.messages == (Message(Role.USER, (RED, "What?")),)
    assert (query.image, query.question, query.is_short) == (RED, "What?", True)
    assert Query("q", [RED, BLUE], "What?").messages == (Message("user", (RED, BLUE, "What?")),)
    assert Query("q", question="What?").messages == (Message("user", "What?"),)


@pytest.mark.parametrize(
    "messages",
    [
        [Message("user", (RED, "What?")), Message("assistant", "Red.")],
        [Message("system", "Be brief.")],
        [Message("assistant", "Hello.")],
    ],
)
def test_a_conversation_that_nobody_is_to_answer_is_refused(messages: list[Message]) -> None:
    with pytest.raises(InputError, match="query q: the conversation has the turns"):
        Query("q", messages=messages)


def test_the_only_image_is_asked_for_where_there_are_none_or_several() -> None:
    with pytest.raises(InputError, match="query talk: there are 3 images where one is needed"):
        _ = TALK.image
    with pytest.raises(InputError, match="query q: there are no images where one is needed"):
        _ = Query("q", question="What?").image


def test_words_and_images_are_replaced_where_they_stand() -> None:
    asked = TALK.with_question("Which?")
    assert asked.messages[:3] == TALK.messages[:3]
    assert asked.messages[3] == Message("user", ("Which?", BLUE, GREEN))
    assert TALK.with_image(GREEN, GREEN, RED).images == (GREEN, GREEN, RED)
    with pytest.raises(InputError, match="query talk: it has 3 images, and 1 are to take their place"):
        TALK.with_image(RED)
    short = Query("q", RED, "What?", "Red.", True, "g")
    assert replace(short, image=BLUE, question="Which?") == Query("q", BLUE, "Which?", "Red.", True, "g")  # type: ignore[call-arg]


def test_texts_stand_before_and_after_what_the_user_says_last() -> None:
    assert with_text_before(TALK.messages, "Look.")[3] == Message("user", ("Look.\nAnd", BLUE, "this", GREEN))
    assert with_text_after(TALK.messages, "Look.")[3] == Message("user", ("And", BLUE, "this\nLook.", GREEN))
    shown = (Message("user", (RED,)),)
    assert with_text_before(shown, "Look.") == with_text_after(shown, "Look.") == (Message("user", (RED, "Look.")),)
    assert TALK.with_prefix("") is TALK


def test_images_are_changed_in_the_messages_of_chosen_roles() -> None:
    messages = (Message("user", (RED, "What?")), Message("tool", (BLUE, "found")))
    assert with_images(messages, lambda number, image: GREEN, [Role.USER]) == (
        Message("user", (GREEN, "What?")),
        Message("tool", (BLUE, "found")),
    )
    assert without_images((*messages, Message("user", GREEN))) == (
        Message("user", "What?"),
        Message("tool", "found"),
        Message("user", ""),
    )


def test_the_digest_of_a_short_query_is_what_it_always_was() -> None:
    """Written out as earlier versions had it: their results and saved vectors name it."""
    query = Query("q", b"file", "What?", "Red.", True, "g", {"k": "v"})
    earlier = hashlib.sha256(repr(("q", "What?", "Red.", True, "g", [("k", "v")])).encode())
    earlier.update(hashlib.sha256(b"file").digest())
    assert digest([query]) == earlier.hexdigest()


def test_the_digest_tells_conversations_apart_by_all_that_is_in_them() -> None:
    one = [Message("user", (RED, "a")), Message("assistant", "b"), Message("user", "c")]
    others = [
        [Message("user", ("a", RED)), *one[1:]],
        [Message("user", (BLUE, "a")), *one[1:]],
        [*one[:2], Message("tool", "c")],
        [*one[:2], Message("user", ("c", ""))],
        [Message("system", "s"), *one],
        [Message("user", (RED, "c"))],
    ]
    digests = {digest([Query("q", messages=messages)]) for messages in [one, *others]}
    assert len(digests) == len(others) + 1
