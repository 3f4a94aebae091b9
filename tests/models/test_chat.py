"""How conversations are put into the chat templates that checkpoints bring."""

from __future__ import annotations

from copy import copy
from typing import Any

import pytest

from davsp.data.conversation import Message, Messages, one_turn
from davsp.errors import InputError
from davsp.models.base import VisionLanguageModel
from davsp.models.chat import Chat

TALK: Messages = (
    Message("system", "be brief ."),
    Message("user", ("what", b"", "is it ?", b"")),
    Message("assistant", "two ."),
    Message("user", "and now ?"),
)
PARTS = "{% for p in m['content'] %}{{ p['text'] if p['type'] == 'text' else '<image>' }}{% endfor %}"
NEXT = "{{ '\n' }}{% endfor %}"
EACH = "{% for m in messages %}{{ m['role'] }}: " + PARTS + NEXT
# As Llama 3.2 Vision's: the system's turn is a text, all others are parts.
SYSTEM_AS_TEXT = (
    "{% for m in messages %}{{ m['role'] }}: {% if m['role'] == 'system' %}{{ m['content'] | trim }}"
    "{% else %}" + PARTS + "{% endif %}" + NEXT
)
# As Gemma 3's: the system's turn goes before what the user says first.
INTO_THE_USERS = (
    "{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'][0]['text'] + ' ' %}"
    "{% set messages = messages[1:] %}{% else %}{% set first = '' %}{% endif %}"
    "{% for m in messages %}{{ m['role'] }}: {{ first if loop.first else '' }}" + PARTS + NEXT
)
AS_TEXT = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}" + NEXT
# As LLaVA-1.5's: all images of a message come first.
IMAGES_FIRST = (
    "{% for m in messages %}{{ m['role'] }}: "
    "{% for p in m['content'] | selectattr('type', 'equalto', 'image') %}<image>{% endfor %}"
    "{% for p in m['content'] | selectattr('type', 'equalto', 'text') %}{{ p['text'] }}{% endfor %}" + NEXT
)
PLAIN = "system: be brief .\nuser: what<image>is it ?<image>\nassistant: two .\nuser: and now ?\n"


def chat(model: VisionLanguageModel, template: str) -> Chat:
    processor: Any = copy(model.processor)
    processor.chat_template = template
    return Chat(processor, "mine", "<image>", "<image>")


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        (EACH, PLAIN),
        (SYSTEM_AS_TEXT, PLAIN),
        (AS_TEXT, PLAIN),
        (INTO_THE_USERS, PLAIN.replace("system: be brief .\nuser: ", "user: be brief . ")),
        (IMAGES_FIRST, PLAIN.replace("what<image>is it ?<image>", "<image><image>whatis it ?")),
    ],
    ids=["parts", "system as text", "texts", "system before the user's", "images first"],
)
def test_a_conversation_is_put_in_the_form_that_its_template_takes(
    model: VisionLanguageModel, template: str, prompt: str
) -> None:
    assert chat(model, template).prompt(TALK) == prompt


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (EACH.replace("in messages", "in messages[-1:]"), r"leaves out the system's text"),
        (EACH.replace("in messages", "in messages if m['role'] != 'assistant'"), "leaves out the assistant's text"),
        (EACH.replace("in messages", "in messages | reverse"), "changes the order of the turns"),
        (EACH + "{{ '<image>' if messages | length > 1 else '' }}", "repeats an image"),
        (EACH + "{{ messages[3]['content'][0]['text'] if messages | length > 1 else '' }}", "repeats the user's text"),
        (
            EACH + "{% if messages | length > 1 %}{{ raise_exception('one turn at a time') }}{% endif %}",
            r"fails \(one turn at a time\)",
        ),
    ],
)
def test_a_conversation_that_a_template_garbles_is_refused_in_one_line_and_a_single_question_is_not(
    model: VisionLanguageModel, template: str, reason: str
) -> None:
    made = chat(model, template)
    told = rf"mine cannot be asked this conversation \(system, user with 2 images, assistant, user\): .* {reason}"
    with pytest.raises(InputError, match=told) as caught:
        made.prompt(TALK)
    assert "\n" not in str(caught.value)
    assert made.prompt(one_turn("what ?", [b""])) == "user: <image>what ?\n"


def test_texts_with_a_models_own_tokens_are_spelt_out_wherever_they_stand(model: VisionLanguageModel) -> None:
    made, image = chat(model, EACH), model.tokenizer.convert_tokens_to_ids("<image>")
    spelt = (*TALK[:2], Message("assistant", "two . <image>"), TALK[3])
    images = ["<image><image>", "<image>"]
    plain, literal = made.ids(TALK, images), made.ids(spelt, images)
    assert plain.count(image) == literal.count(image) == 3
    assert len(literal) > len(plain)
