"""Which of Inspect's conversations davsp's models and defences take, and what they are asked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from davsp.data.conversation import Message, Messages, one_turn, with_images
from davsp.errors import InputError
from davsp.imaging.data_uris import png_uri
from davsp.imaging.opening import open_image
from davsp.models.requests import Request

pytest.importorskip("inspect_ai")

import inspect_ai
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ContentAudio,
    ContentImage,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    get_model,
)
from inspect_ai.tool import ToolCall

from davsp.evaluation import registry  # noqa: F401 - what the entry point names
from davsp.evaluation.media import to_sample
from davsp.evaluation.messages import read_messages, read_query, to_messages
from davsp.evaluation.provider import DavspAPI
from davsp.evaluation.solver import behind
from tests.evaluation.fakes import QUERIES, RED, REFUSAL, Careful, FakeModel


def message(*parts: Any) -> ChatMessageUser:
    return ChatMessageUser(content=list(parts))


BLUE, GREEN = (Image.new("RGB", (4, 3), colour) for colour in ("blue", "green"))
IMAGE, TEXT = ContentImage(image=png_uri(RED)), ContentText(text="what ?")


def pixels_of(messages: Messages) -> Messages:
    return with_images(messages, lambda _, image: open_image(image).tobytes())


TALK = (
    Message("system", "Be brief."),
    Message("user", (RED, "what ?", BLUE)),
    Message("assistant", "red and blue"),
    Message("user", ("and", GREEN)),
)


def test_a_conversation_survives_the_way_through_inspect_unchanged() -> None:
    assert pixels_of(read_query("q", to_messages(Request(TALK))).messages) == pixels_of(TALK)
    messages, begun = read_messages(to_messages(Request("what ?", RED, begun="It is")))
    assert (pixels_of(messages), begun) == (pixels_of(one_turn("what ?", [RED])), "It is")
    [asked] = to_messages(Request("what ?"))
    assert asked.content == [TEXT]


def test_a_models_reasoning_is_no_part_of_what_it_said() -> None:
    thought = ChatMessageAssistant(content=[ContentReasoning(reasoning="hm"), ContentText(text="red")])
    query = read_query("q", [message(IMAGE, TEXT), thought, ChatMessageUser(content="sure ?")])
    assert query.messages[1] == Message("assistant", "red")


CALL = ToolCall(id="1", function="look", arguments={})


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "has the turns none"),
        ([ChatMessageSystem(content="Be safe.")], "has the turns system"),
        ([message(IMAGE, TEXT), ChatMessageAssistant(content="It is")], "leave the begun answer out"),
        ([message(ContentAudio(audio="a.wav", format="wav"))], "not: audio"),
        ([message(ContentImage(image="https://a.b/c.png"), TEXT)], "no base64 data URI"),
        ([message(TEXT), ChatMessageAssistant(content="", tool_calls=[CALL]), message(TEXT)], "call no tools"),
    ],
)
def test_what_defences_cannot_answer_is_refused(messages: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read_query("q", messages)


@pytest.mark.parametrize(
    ("message", "reason"),
    [(Message("system", (RED, "Be brief.")), "images of the system"), (Message("tool", "found"), "tools are not sent")],
)
def test_what_no_server_takes_is_refused(message: Message, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        to_messages(Request((message, Message("user", "what ?"))))


# --- Inspect's provider


def asked_by(messages: Any, config: GenerateConfig) -> Request:
    """What a local model is asked when Inspect sends these messages."""
    model = FakeModel()
    asyncio.run(DavspAPI("fake", local_model=model).generate(messages, [], "none", config))
    return model.asked[0]


def test_sampling_takes_a_seed() -> None:
    with pytest.raises(InputError, match=r"by a seed: give one with temperature 0.7"):
        asked_by([message(IMAGE, TEXT)], GenerateConfig(temperature=0.7))
    request = asked_by([message(IMAGE, TEXT)], GenerateConfig(temperature=0.7, seed=3))
    assert (request.temperature, request.seed) == (0.7, 3)


def test_a_question_needs_no_image_and_an_answer_can_be_begun() -> None:
    request = asked_by([ChatMessageUser(content="what ?"), ChatMessageAssistant(content="It is")], GenerateConfig())
    assert (request.question, request.images, request.begun) == ("what ?", (), "It is")


def test_a_conversation_reaches_the_model_as_it_is() -> None:
    request = asked_by(to_messages(Request(TALK)), GenerateConfig())
    assert pixels_of(request.messages) == pixels_of(TALK)


def test_the_tokens_that_a_model_read_and_wrote_are_its_usage() -> None:
    api = DavspAPI("fake", local_model=FakeModel())
    output = asyncio.run(api.generate([message(IMAGE, TEXT)], [], "none", GenerateConfig()))
    assert output.usage is not None
    assert (output.usage.input_tokens, output.usage.output_tokens, output.stop_reason) == (10, 5, "stop")


def test_inspect_finds_the_provider_by_its_name() -> None:
    model = get_model("davsp/fake", memoize=False, local_model=FakeModel())
    assert isinstance(model.api, DavspAPI)
    assert str(model) == "davsp/fake"


def test_connections_suffice_for_two_full_batches() -> None:
    assert DavspAPI("fake", local_model=FakeModel(), batch_size=32).max_connections() == 64


def test_a_defence_is_a_solver_for_any_of_inspects_models(tmp_path: Path) -> None:
    model = FakeModel()
    [log] = inspect_ai.eval(
        inspect_ai.Task([to_sample(query) for query in QUERIES], solver=behind(Careful())),
        model=get_model("davsp/fake", memoize=False, local_model=model, batch_size=4),
        log_dir=str(tmp_path),
        display="none",
        ctl_server=False,
    )
    assert {sample.output.completion for sample in log.samples or []} == {REFUSAL}
    assert {request.question for request in model.asked} == {f"be careful : {query.question}" for query in QUERIES}
    for request in model.asked:
        assert isinstance(request.image, Image.Image) and request.image.getpixel((0, 0)) == (0, 128, 0)
