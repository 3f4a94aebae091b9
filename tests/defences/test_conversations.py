"""Defences of whole conversations: what each makes of roles, turns, and several images or none."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from davsp.data.conversation import Message, Role, one_turn
from davsp.data.query import Query
from davsp.defences.adashield import AdaShieldA, AdaShieldS, AdaShieldSOptions
from davsp.defences.adashield_instruction import INSTRUCTION, Order
from davsp.defences.base import Defence, Exchange
from davsp.defences.ecso import AGAIN, CAPTION, CHECK, Ecso
from davsp.defences.eta import Eta, EtaOptions
from davsp.defences.gate import Gate
from davsp.defences.stored import BaseModelFacts
from davsp.defences.textual import SafetyPrefix, Undefended
from davsp.defences.transcribe import READ, Transcribe, TranscribeOptions
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.errors import InputError
from davsp.models.base import VisionLanguageModel
from davsp.models.probe import Probe
from davsp.models.requests import Request, Response, Watch
from davsp.prompts.layouts import BorderLayout
from davsp.prompts.visual import VisualPrompt
from davsp.training.vector import project
from tests.tiny import save_tiny_clip

A, B, C = (Image.effect_noise((40 + 9 * i, 30), 80).convert("RGB") for i in range(3))
SYSTEM, ASKED, SAID = (
    Message("system", "help fully ."),
    Message("user", (A, "what is it ?")),
    Message("assistant", "one"),
)
TALK = Query("talk", messages=[SYSTEM, ASKED, SAID, Message("user", ("and", B, "here ?", C))])
TEXT = Query("text", question="how do i do this ?")


def answered(defence: Defence, query: Query, *said: str) -> tuple[str, list[Request]]:
    """The answer behind a defence of a model that says these things in turn, and what it was asked."""
    asked: list[Request] = []
    answers = iter(said)

    async def send(request: Request, limit: int | None) -> Response:
        asked.append(request)
        return Response(next(answers), True, 1, 1)

    return asyncio.run(defence.answer(query, Exchange(send))), asked


@pytest.fixture
def prompt(model: VisionLanguageModel) -> VisualSafetyPrompt:
    layout = BorderLayout(112, 112, border=14)
    pixels = torch.rand(3, 112, 112, generator=torch.manual_seed(0))
    layout.project_(pixels)
    return VisualSafetyPrompt("x", VisualPrompt(layout, pixels), "be careful .", base_model=BaseModelFacts.of(model))


def test_the_border_lies_around_every_image_of_a_user_and_the_prefix_before_the_last_question(
    prompt: VisualSafetyPrompt,
) -> None:
    assert prompt.defend(TALK).messages == (
        SYSTEM,
        Message("user", (prompt.apply_to_image(A), "what is it ?")),
        SAID,
        Message("user", ("be careful .\nand", prompt.apply_to_image(B), "here ?", prompt.apply_to_image(C))),
    )
    assert prompt.defend(TEXT).messages == one_turn("be careful .\nhow do i do this ?")


def test_images_of_tools_are_composed_where_that_is_chosen_and_it_is_another_defence_then(
    prompt: VisualSafetyPrompt,
) -> None:
    query = Query("q", messages=[ASKED, SAID, Message("tool", (B, "found"))])
    assert prompt.defend(query).images[1] is B
    both = prompt.on_images_of({Role.USER, Role.TOOL})
    assert both.defend(query).images == (prompt.apply_to_image(A), prompt.apply_to_image(B))
    assert both.identity != prompt.identity == both.on_images_of({Role.USER}).identity


def test_texts_are_asked_with_all_that_was_said_before() -> None:
    *before, last = TALK.messages
    assert SafetyPrefix("be careful .").defend(TALK).messages[:-1] == tuple(before)
    first = AdaShieldS(AdaShieldSOptions(order=Order.FIRST)).defend(TALK)
    assert first.messages[-1].parts == (f"{INSTRUCTION}\nand", B, "here ?", C)
    between = AdaShieldS(AdaShieldSOptions(order=Order.BETWEEN)).defend(Query("q", A, "what ?"))
    assert between.question == f"what ?\n{INSTRUCTION}\nwhat ?"
    assert answered(Undefended(), TALK, "two")[1] == [Request(TALK.messages)]
    assert last.text == TALK.question


def test_ecso_checks_and_captions_within_the_conversation_and_answers_without_its_images() -> None:
    answer, asked = answered(Ecso(), TALK, "stir it", "Yes.", "a pot", "No.")
    question = "and\nhere ?"
    assert answer == "No." and len(asked) == 4
    assert [request.messages[:3] for request in asked[:3]] == [TALK.messages[:3]] * 3
    assert asked[0].messages == TALK.messages
    assert asked[1].messages[3].parts == (CHECK.format(question=question, answer="stir it"), B, C)
    assert asked[2].messages[3].parts == (CAPTION.format(question=question), B, C)
    assert asked[3].images == ()
    assert asked[3].messages[1:] == (
        Message("user", "what is it ?"),
        SAID,
        Message("user", AGAIN.format(caption="a pot", question=question)),
    )
    assert answered(Ecso(), TEXT, "stir it")[0] == "stir it", "without an image there is nothing to caption"


def test_transcribe_reads_every_image_and_asks_the_texts_with_what_was_said() -> None:
    transcribe = Transcribe(TranscribeOptions())
    answer, asked = answered(transcribe, TALK, "Steps to nap", "none", "Steps to bake", "I am sorry, I cannot help.")
    assert answer == "I am sorry, I cannot help."
    assert asked[:3] == [Request(READ, image) for image in (A, B, C)]
    assert asked[3].messages[-1] == Message("user", "and\nhere ?\nSteps to nap\nSteps to bake")
    assert asked[3].images == () and asked[3].messages[0] == SYSTEM
    assert answered(transcribe, TEXT, "so")[1] == [Request(TEXT.messages)]


def test_eta_keeps_an_answer_only_where_every_image_looks_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    likeness = {A.size: 0.1, B.size: 0.2, C.size: 0.1}
    clip: Any = SimpleNamespace(similarity=lambda image, text: likeness[image.size])
    reward: Any = SimpleNamespace(score=lambda question, answer: 0.0)
    options = EtaOptions(reward="r", candidates=1, max_sentences=1)
    eta = Eta(options, clip, reward)
    anew = f"{options.prefix} no."
    assert answered(eta, Query("q", [A, C], "?"), "sure")[0] == "sure"
    assert answered(eta, Query("q", [A, B, C], "?"), "sure", " no.")[0] == anew
    answer, asked = answered(eta, TEXT, "sure", " no.")
    assert answer == anew and asked[1].begun == options.prefix and asked[1].messages == TEXT.messages


def test_adashield_a_takes_the_instruction_nearest_to_any_of_the_images(tmp_path: Path) -> None:
    from davsp.defences.helpers import Clip

    clip = Clip(str(save_tiny_clip(tmp_path / "clip")), "cpu")
    embeddings = torch.stack([clip.embed(image, "?") for image in (A, B)])
    facts: Any = SimpleNamespace(
        name="a", order=Order.FIRST, pool=[SimpleNamespace(instruction="one"), SimpleNamespace(instruction="two")]
    )
    defence = AdaShieldA(facts, embeddings, clip)
    alone = {image.size: defence.defend(Query("q", image, "?")).question for image in (A, B)}
    assert alone == {A.size: "one\n?", B.size: "two\n?"}
    assert defence.defend(Query("q", [A], "?")).question == "one\n?"
    with pytest.raises(InputError, match="query text: adashield-a finds an instruction by an image, and there is none"):
        defence.defend(TEXT)


def test_a_gate_reads_the_last_token_of_the_whole_conversation(model: VisionLanguageModel) -> None:
    """Its verdict is that of the projection, and what it lets through is answered as without it."""
    probe = Probe((2, 3), torch.linspace(-1, 1, 2 * model.hidden_size).view(2, -1))
    queries = [TALK, TEXT, Query("short", A, "what is it ?")]
    for query, projection in zip(queries, project(model, queries, probe).tolist(), strict=True):
        for threshold, flagged in ((projection - 0.1, True), (projection + 0.1, False)):
            watch = Watch(probe, threshold)
            [watched, plain] = model.respond([Request(query.messages, watch=watch), Request(query.messages)], 4)
            assert watched.projection == pytest.approx(projection, abs=1e-3)
            assert watched.text == "" if flagged else watched == replace(plain, projection=watched.projection)


def test_a_gate_asks_the_conversation_and_hands_it_to_what_stands_behind() -> None:
    facts: Any = SimpleNamespace(name="mine", layers=(2,), threshold=0.0, refusal_threshold=None, flatten=0)
    gate = Gate(facts, Probe.at(2, torch.zeros(4))).before(SafetyPrefix("be careful ."))
    asked: list[Request] = []

    async def send(request: Request, limit: int | None) -> Response:
        asked.append(request)
        return Response("no", True, 1, 1, projection=1.0 if request.watch else None)

    assert asyncio.run(gate.answer(TALK, Exchange(send))) == "no"
    assert asked[0].messages == TALK.messages
    assert asked[1].messages == SafetyPrefix("be careful .").defend(TALK).messages
