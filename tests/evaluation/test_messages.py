"""Which of Inspect's conversations davsp's models and defences take, and what they are asked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from davsp.errors import InputError
from davsp.models.requests import Request

pytest.importorskip("inspect_ai")

import inspect_ai
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ContentImage,
    ContentText,
    GenerateConfig,
    get_model,
)

from davsp.evaluation import registry  # noqa: F401 - what the entry point names
from davsp.evaluation.media import decode_image, encode_image, to_sample
from davsp.evaluation.messages import read_query, to_messages
from davsp.evaluation.provider import DavspAPI
from davsp.evaluation.solver import behind
from tests.evaluation.fakes import QUERIES, RED, REFUSAL, Careful, FakeModel


def message(*parts: Any) -> ChatMessageUser:
    return ChatMessageUser(content=list(parts))


IMAGE, TEXT = ContentImage(image=encode_image(RED)), ContentText(text="what ?")


def test_a_system_message_stands_before_the_question() -> None:
    _, text = read_query([ChatMessageSystem(content="Be safe."), message(IMAGE, TEXT)])
    assert text == "Be safe.\nwhat ?"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [ChatMessageUser(content="no image")],
        [message(IMAGE)],
        [message(IMAGE, IMAGE, TEXT)],
        [message(IMAGE, TEXT), message(IMAGE, TEXT)],
        [message(IMAGE, TEXT), ChatMessageAssistant(content="It is"), message(IMAGE, TEXT)],
    ],
)
def test_anything_but_one_image_and_a_text_is_refused(messages: Any) -> None:
    with pytest.raises(InputError, match=r"take one"):
        read_query(messages)


def test_a_request_is_the_conversation_that_is_read_as_it() -> None:
    [asked, begun] = to_messages(Request("what ?", RED, begun="It is"))
    image, text = read_query([asked])
    assert (text, begun.text) == ("what ?", "It is")
    assert decode_image(image).tobytes() == RED.tobytes()
    [asked] = to_messages(Request("what ?"))
    assert asked.content == [TEXT]


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
    assert (request.question, request.image, request.begun) == ("what ?", None, "It is")


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
