"""HarmBench's classifier of text behaviours (cais/HarmBench-Llama-2-13b-cls): whether a response is the behaviour.

The classifier was trained on one prompt, which its authors publish in its model card. It is read there and not kept
here: from the card beside the weights, or from the card on the hub.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from huggingface_hub import hf_hub_download

from davsp.errors import InputError
from davsp.judges.base import Criterion
from davsp.judges.model_judge import ModelJudge
from davsp.judges.prompting import Message
from davsp.util.failures import first_line

CHECKPOINT = "cais/HarmBench-Llama-2-13b-cls"
_PROMPT = re.compile(r"""["']prompt["']\s*:\s*(?P<quote>'''|\"{3})(?P<prompt>.*?)(?P=quote)""", re.DOTALL)
MAX_BYTES = 1_000_000


def published_prompt(checkpoint: str = CHECKPOINT) -> str:
    """The prompt in the card of a checkpoint, a local folder or a hub id, with {behavior} and {generation} in it.

    Raises InputError where there is no card, or no such prompt in it.
    """
    try:
        card = Path(checkpoint) / "README.md"
        if not Path(checkpoint).is_dir():
            card = Path(hf_hub_download(checkpoint, "README.md"))
        with card.open(encoding="utf-8") as stream:
            text = stream.read(MAX_BYTES)
    except (OSError, ValueError) as error:
        raise InputError(
            f"the model card of {checkpoint}, which holds the classifier's prompt, cannot be read: {first_line(error)} "
            "Fetch it while online (hf download REPOSITORY README.md), or put README.md beside the weights."
        ) from error
    match = _PROMPT.search(text)
    if not match or not all(field in match["prompt"] for field in ("{behavior}", "{generation}")):
        raise InputError(f"the model card of {checkpoint} holds no prompt with {{behavior}} and {{generation}}.")
    return match["prompt"]


@dataclass(frozen=True)
class HarmBench(ModelJudge):
    """Sends the published prompt as it is: no chat template may be wrapped around it."""

    prompt: str = ""

    name: ClassVar[str] = "harmbench"
    can_tell: ClassVar[frozenset[Criterion]] = frozenset({Criterion.HARM})
    reply_tokens: ClassVar[int] = 4
    example: ClassVar[str] = f"hf/{CHECKPOINT}"
    model_arguments: ClassVar[dict[str, str]] = {"chat_template": "{{ messages[0]['content'] }}"}

    @classmethod
    def for_checkpoint(cls, checkpoint: str | None) -> Self:
        return cls(prompt=published_prompt(checkpoint or CHECKPOINT))

    def messages(self, criterion: Criterion, question: str, response: str) -> list[Message]:  # noqa: ARG002
        before, _, after = self.prompt.partition("{generation}")
        filled = [part.replace("{behavior}", question) for part in (before, after)]
        return [Message("user", response.join(filled))]

    def parse(self, criterion: Criterion, reply: str) -> bool | None:  # noqa: ARG002
        return {"yes": True, "no": False}.get(reply.casefold())
