"""The simplest defences, beside which all others stand: none at all, and the safety prefix alone."""

from __future__ import annotations

from typing import Any, Self

from davsp.defences.prompted import PromptDefence
from davsp.prompts.text import SAFETY_PREFIX
from davsp.results import UNDEFENDED


class Undefended(PromptDefence):
    """The query goes to the model as it is."""

    kind = name = UNDEFENDED
    visual = None
    prefix = ""

    @classmethod
    def from_options(cls, options: Any) -> Self:  # noqa: ARG003
        return cls()


class SafetyPrefix(PromptDefence):
    """A safety prefix before the question, and the image as it is."""

    kind = name = "prefix"
    visual = None

    def __init__(self, prefix: str = SAFETY_PREFIX) -> None:
        self.prefix = prefix

    @classmethod
    def from_options(cls, options: Any) -> Self:  # noqa: ARG003
        return cls()
