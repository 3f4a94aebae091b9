"""Corpora of sentences from the testbed's world, harmless stand-ins for those that baselines are fitted to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from davsp.defences.corpus import HARMFUL_SENTENCES, SECURITY_INSTRUCTIONS
from davsp.errors import InputError
from davsp.testbed.safety import PREFIXES
from davsp.testbed.world import REFUSAL, Harm, Split, activities


def forbidden_answers() -> list[str]:
    """What stands in for harmful sentences: the world's fillers for the malicious activities of border training."""
    return [activity.answer for activity in activities(Harm.MALICIOUS, Split.BORDER)]


def security_instructions() -> list[str]:
    """What stands in for security instructions: the world's safety prefixes, and its refusal."""
    return [*PREFIXES, REFUSAL]


CORPORA: Mapping[str, Callable[[], list[str]]] = {
    HARMFUL_SENTENCES: forbidden_answers,
    SECURITY_INSTRUCTIONS: security_instructions,
}
"""By what they are of."""


def corpus_of(sentences: str) -> list[str]:
    """The testbed's corpus of such sentences. Raises InputError when it has none."""
    if sentences not in CORPORA:
        raise InputError(f"the testbed has no corpus of {sentences}: name a file of sentences, one a line.")
    return CORPORA[sentences]()
