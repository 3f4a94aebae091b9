"""Models that think before they answer: the answer is what follows the thinking."""

from __future__ import annotations

import re

_NAMES = "think|thinking|thought|reasoning"
_OPENING = re.compile(rf"<(?:{_NAMES})>|◁think▷", re.IGNORECASE)
_CLOSING = re.compile(rf"</(?:{_NAMES})>|◁/think▷", re.IGNORECASE)


def after_thinking(text: str) -> str | None:
    """The answer in a reply: all of it, or what follows the last thinking that was closed.

    The opening tag may be missing, for many chat templates bring it. None where the reply ends within its thinking, so
    that there is no answer.
    """
    closed = list(_CLOSING.finditer(text))
    rest = text[closed[-1].end() :] if closed else text
    return None if _OPENING.match(rest.lstrip()) else rest
