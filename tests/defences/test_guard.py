"""An image guard before the model: what is unsafe is refused, and no decision is never a safe one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from PIL import Image

from davsp.data.conversation import Message, Role
from davsp.data.query import Query
from davsp.defences.guard import Guard
from davsp.defences.image_guards import load_guard
from davsp.defences.loading import check_served, load_defence
from davsp.defences.textual import SafetyPrefix
from davsp.errors import InputError, ModelError
from davsp.models.requests import Request
from davsp.training.batches import REFUSAL
from tests.defences.guards import BLUE, QUESTION, RED, save_guard
from tests.defences.test_ecso import scripted


def query(image: Image.Image) -> Query:
    return Query("q", image, QUESTION)


@pytest.fixture(scope="module")
def guard(guard_folder: Path) -> Guard:
    return Guard(load_guard(str(guard_folder)))


def test_what_the_guard_finds_unsafe_is_refused_and_the_model_not_asked(guard: Guard) -> None:
    exchange, asked = scripted()
    assert asyncio.run(guard.answer(query(RED), exchange)) == REFUSAL
    assert asked == []
    assert exchange.cost.helper_calls == 1


def test_what_it_finds_safe_is_asked_as_it_is(guard: Guard) -> None:
    exchange, asked = scripted("Like this.")
    assert asyncio.run(guard.answer(query(BLUE), exchange)) == "Like this."
    assert asked == [Request(QUESTION, BLUE)]


def test_every_image_of_a_conversation_is_looked_at(guard: Guard) -> None:
    def talk(*images: Image.Image) -> Query:
        return Query("q", messages=[Message("user", [images[0], "look"]), Message("user", [*images[1:], QUESTION])])

    exchange, asked = scripted("Like this.")
    assert asyncio.run(guard.answer(talk(BLUE, RED), exchange)) == REFUSAL
    assert asyncio.run(guard.answer(talk(BLUE, BLUE), exchange)) == "Like this."
    assert [request.messages for request in asked] == [talk(BLUE, BLUE).messages]
    assert exchange.cost.helper_calls == 4
    with pytest.raises(InputError, match="looks at images, and there is none"):
        asyncio.run(guard.answer(Query("q", None, QUESTION), exchange))


def test_with_an_inner_defence_the_unsafe_is_answered_behind_it(guard_folder: Path) -> None:
    behind = load_defence(f"guard:model={guard_folder},inner=prefix")
    exchange, asked = scripted("I would rather not.")
    assert asyncio.run(behind.answer(query(RED), exchange)) == "I would rather not."
    assert [request.question for request in asked] == [SafetyPrefix().defend(query(RED)).question]
    assert behind.name == "guard:tiny-guard+prefix"


def test_it_tells_the_inner_defence_whose_images_are_meant(guard: Guard) -> None:
    inner = Guard(guard.guard, SafetyPrefix()).on_images_of({Role.TOOL}).inner
    assert isinstance(inner, SafetyPrefix)
    assert inner.roles == (Role.TOOL,)


def test_no_decision_fails_the_query(tmp_path: Path) -> None:
    lost = Guard(load_guard(str(save_guard("mllama", tmp_path, steps=0))))
    for image in (RED, BLUE):
        exchange, asked = scripted("Like this.")
        with pytest.raises(ModelError, match="gave no decision"):
            asyncio.run(lost.answer(query(image), exchange))
        assert asked == []


def test_a_guard_before_a_defence_that_servers_cannot_give_is_refused_for_them(guard: Guard) -> None:
    class Begins(SafetyPrefix):
        begins_answers = True

    check_served(Guard(guard.guard, SafetyPrefix()))
    with pytest.raises(InputError, match="servers begin a new one"):
        check_served(Guard(guard.guard, Begins()))


def test_its_identity_tells_checkpoints_and_what_stands_behind_apart(guard: Guard, tmp_path: Path) -> None:
    other = Guard(load_guard(str(save_guard("mllama", tmp_path, steps=1))))
    with_prefix = Guard(guard.guard, SafetyPrefix())
    assert len({guard.identity, other.identity, with_prefix.identity}) == 3
