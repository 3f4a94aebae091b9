"""A checkpoint's chat template: how it is to be filled in, found out before the first question."""

from __future__ import annotations

from typing import Any

import transformers
from jinja2 import TemplateError

from davsp.errors import MALFORMED, ModelError

MARK = "\ue000"
"""Stands for a user's text while a chat template is filled in. It is of Unicode's private use area."""
_PROBE = f"{MARK} 'it' \"is\"\n{MARK}"
"""A text that shows whether a template passes on what it is given, and not a description of it."""


class Chat:
    """Single-turn chats of one text, and one image or none, as a processor's chat template puts them.

    Most templates take a message as parts, an image and a text. One that takes texts alone is given `image_in_text`
    before the question, as users of such models write it. Raises ModelError for a template that can be used neither
    way: one that fails, or leaves out or repeats question or image. `image_token` is an image's placeholder.
    """

    def __init__(self, processor: transformers.ProcessorMixin, name: str, image_token: str, image_in_text: str) -> None:
        self._processor, self._name, self._image_in_text = processor, name, image_in_text
        self._as_text = False
        if in_parts := self._problem(image_token):
            self._as_text = True
            if as_text := self._problem(image_token):
                also = "" if as_text == in_parts else f", and given a text it {as_text}"
                raise self._unusable(f"{in_parts}{also}")

    def prompt(self, text: str, image: bool) -> str:
        """The prompt as text, with the image's placeholder if there is an image. Raises ModelError when it fails."""
        try:
            return self._filled(text, image)
        except (TemplateError, ArithmeticError, RecursionError, *MALFORMED) as error:
            raise self._unusable(_failure(error)) from error

    def _filled(self, text: str, image: bool) -> str:
        content: Any = [{"type": "image"}] * image + [{"type": "text", "text": text}]
        if self._as_text:
            content = self._image_in_text * image + text
        prompt: str = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        return prompt

    def _problem(self, image_token: str) -> str | None:
        """What the template does wrong, if anything, in the present form of a message."""
        for image in (True, False):
            try:
                prompt = self._filled(_PROBE, image)
            except (TemplateError, ArithmeticError, RecursionError, *MALFORMED) as error:
                return _failure(error)
            for what, found, due in (
                ("question", prompt.count(_PROBE), 1),
                ("image", prompt.count(image_token), image),
            ):
                if found != due:
                    return f"{'leaves out' if found < due else 'repeats'} the {what}"
        return None

    def _unusable(self, problem: str) -> ModelError:
        return ModelError(
            f"the chat template of {self._name} {problem}. Mend its chat_template.jinja (or chat_template in "
            "tokenizer_config.json), or put that of the original model there."
        )


def _failure(error: Exception) -> str:
    return f"fails ({' '.join(str(error).split())[:200] or type(error).__name__})"
