"""A target and defenders whose instructions it heeds, to refine AdaShield-A's pool with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from davsp.data.query import Query
from davsp.defences.adashield_refinement import AdaShieldAOptions, Refinement
from davsp.defences.helpers import Clip
from davsp.models.base import VisionLanguageModel
from davsp.models.requests import Request, Response

REFUSAL = "I am sorry, I cannot help with that."


class Target:
    """Refuses where the instruction holds a key word of the question's scenario; counts what it was asked."""

    name = "target"

    def __init__(self, model: VisionLanguageModel) -> None:
        self.behind, self.asked = model, list[str]()

    def respond(self, requests: Sequence[Request], max_new_tokens: int) -> list[Response]:
        self.asked += [request.question for request in requests]
        return [Response(self.say(request.question), True, 1, 1) for request in requests]

    @staticmethod
    def say(question: str) -> str:
        keys = {"bomb": "weapons", "bank": "money", "stubborn": "never"}
        return REFUSAL if any(key in question and thing in question for thing, key in keys.items()) else "sure , do it"

    def __getattr__(self, name: str) -> object:
        return getattr(self.behind, name)


def malicious(identifier: str, question: str, group: str, colour: str = "red") -> Query:
    return Query(identifier, Image.new("RGB", (30, 30), colour), question, None, True, group, {"forbidden": "do it"})


TRAINING = [malicious("a", "a bomb ?", "arms"), malicious("b", "a bank ?", "fraud", "blue")]
CHECKS = [malicious(f"c{i}", "a bomb !", "arms") for i in range(5)] + [
    malicious(f"d{i}", "a bank !", "fraud") for i in range(5)
]


def refine(
    model: VisionLanguageModel,
    clip_folder: Path,
    defender: Callable[[str], str],
    training: Sequence[Query] = TRAINING,
    checks: Sequence[Query] = CHECKS,
    **options: object,
) -> Refinement:
    told = AdaShieldAOptions.model_validate({"defender": "stand-in", "clip": str(clip_folder)} | options)
    return Refinement(Target(model), told, training, checks, defender, Clip(str(clip_folder)))  # type: ignore[arg-type]


def recording(prompts: list[str], defender: Callable[[str], str]) -> Callable[[str], str]:
    """The defender, with what it is asked put into `prompts`."""

    def answer(prompt: str) -> str:
        prompts.append(prompt)
        return defender(prompt)

    return answer


def knowing(prompt: str) -> str:
    """A defender that knows what each scenario needs."""
    word = "weapons" if "Scenario: arms" in prompt else "money"
    return f'Here it is: {{"instruction": "look for {word} ."}}'
