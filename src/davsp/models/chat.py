"""A checkpoint's chat template: how it is to be filled in, found out before it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import transformers
from jinja2 import TemplateError

from davsp.data.conversation import Message, Messages, Role, one_turn
from davsp.errors import MALFORMED, InputError, ModelError
from davsp.models.literal import literal_ids, own_tokens

MARK = "\ue000"
"""Stands for a text while a chat template is filled in. It is of Unicode's private use area."""
_FAILURES = (TemplateError, ArithmeticError, RecursionError, *MALFORMED)

Form = Callable[[Message], Any]
"""What a message's content is written as for a template."""
Shape = tuple[tuple[Role, tuple[bool, ...]], ...]
"""Who says something in a conversation, and which of its parts are texts."""


class Chat:
    """Conversations as a processor's chat template puts them.

    Most templates take a message as parts, images and texts; some of these take a system's turn, or all that holds no
    image, as a text. One that takes texts alone is given `image_in_text` in an image's place, as users of such models
    write it. Which of these it is, is found out by what becomes of marked texts. Raises ModelError for a template that
    can put no single question, with an image or without: one that fails, or leaves out or repeats either. `image_token`
    is an image's placeholder.
    """

    def __init__(self, processor: transformers.ProcessorMixin, name: str, image_token: str, image_in_text: str) -> None:
        self._processor, self._name, self._image_token = processor, name, image_token
        self._tokenizer: transformers.PreTrainedTokenizerBase = processor.tokenizer

        def as_text(message: Message) -> str:
            return "".join(part if isinstance(part, str) else image_in_text for part in message.parts)

        self._forms: tuple[Form, ...] = (
            _in_parts,
            lambda message: as_text(message) if message.role is Role.SYSTEM else _in_parts(message),
            lambda message: _in_parts(message) if message.images else as_text(message),
            as_text,
        )
        self._form = lru_cache(maxsize=256)(self._find_form)
        for images in ((b"",), ()):
            self._form(_shape(one_turn("", images)))

    def ids(self, messages: Messages, images: Sequence[str]) -> list[int]:
        """The token ids of a conversation; `images` are the texts that stand for its images, in order.

        A text that holds the model's own tokens is read as text. Raises what `prompt` raises.
        """
        own = own_tokens(self._tokenizer)
        texts = [part for message in messages for part in message.parts if isinstance(part, str)]
        literal = [t for t in texts if own.search(t) or MARK in t] if any(own.search(t) for t in texts) else []
        marked = tuple(Message(m.role, [MARK if part in literal else part for part in m.parts]) for m in messages)
        first, *others = self.prompt(marked if literal else messages).split(self._image_token)
        prompt = first + "".join(text for pair in zip(images, others, strict=True) for text in pair)
        if not literal:
            return self._ids(prompt)
        head, *tails = prompt.split(MARK)
        ids = self._ids(head)
        for text, tail in zip(literal, tails, strict=True):
            ids += literal_ids(self._tokenizer, text, tail)
        return ids

    def _ids(self, prompt: str) -> list[int]:
        # As `processor.apply_chat_template` does it: a template that brings the first token needs no second one.
        has_first = self._tokenizer.bos_token is not None and prompt.startswith(self._tokenizer.bos_token)
        ids: list[int] = self._tokenizer(prompt, add_special_tokens=not has_first)["input_ids"]
        return ids

    def prompt(self, messages: Messages) -> str:
        """The prompt as text, with a placeholder for each image.

        Raises InputError for a conversation that the template cannot put, ModelError when it fails.
        """
        form = self._form(_shape(messages))
        try:
            return self._filled(messages, form)
        except _FAILURES as error:
            raise self._unusable(_failure(error)) from error

    def _filled(self, messages: Messages, form: Form) -> str:
        prompt: str = self._processor.apply_chat_template(
            [{"role": message.role.value, "content": form(message)} for message in messages],
            add_generation_prompt=True,
        )
        return prompt

    def _find_form(self, shape: Shape) -> Form:
        problems = []
        for form in self._forms:
            problem = self._problem(shape, form)
            if problem is None:
                return form
            problems.append(problem)
        in_parts, as_text = problems[0], problems[-1]
        if len(shape) == 1 and sum(shape[0][1]) == 1 and len(shape[0][1]) <= 2:
            also = "" if as_text == in_parts else f", and given a text it {as_text}"
            raise self._unusable(f"{in_parts}{also}")
        turns = ", ".join(_described(role, texts) for role, texts in shape)
        raise InputError(f"{self._name} cannot be asked this conversation ({turns}): its chat template {in_parts}.")

    def _problem(self, shape: Shape, form: Form) -> str | None:
        """What the template does wrong, if anything, with a conversation of this shape in this form."""
        probes, images = list[tuple[Role, str]](), 0
        messages = []
        for role, texts in shape:
            parts: list[str | bytes] = []
            for is_text in texts:
                # The quotes show whether a template passes on what it is given, and not a description of it.
                parts.append(f"{MARK}{len(probes)} 'it' \"is\"\n{MARK}" if is_text else b"")
                if is_text:
                    probes.append((role, str(parts[-1])))
            images += len(texts) - sum(texts)
            messages.append(Message(role, parts))
        try:
            prompt = self._filled(tuple(messages), form)
        except _FAILURES as error:
            return _failure(error)
        single = len(probes) == 1
        for role, probe in probes:
            if (found := prompt.count(probe)) != 1:
                what = "question" if single else f"{role}'s text"
                return f"{'repeats' if found else 'leaves out'} the {what}"
        if (found := prompt.count(self._image_token)) != images:
            what = "the image" if images <= 1 else "an image"
            return f"{'leaves out' if found < images else 'repeats'} {what}"
        places = [prompt.index(probe) for _, probe in probes]
        return None if places == sorted(places) else "changes the order of the turns"

    def _unusable(self, problem: str) -> ModelError:
        return ModelError(
            f"the chat template of {self._name} {problem}. Mend its chat_template.jinja (or chat_template in "
            "tokenizer_config.json), or put that of the original model there."
        )


def _in_parts(message: Message) -> Any:
    return [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in message.parts]


def _shape(messages: Messages) -> Shape:
    return tuple((m.role, tuple(isinstance(part, str) for part in m.parts)) for m in messages)


def _described(role: Role, texts: tuple[bool, ...]) -> str:
    images = len(texts) - sum(texts)
    return f"{role} with {images} image{'s' * (images > 1)}" if images else str(role)


def _failure(error: Exception) -> str:
    return f"fails ({' '.join(str(error).split())[:200] or type(error).__name__})"
