"""What passes between a defence, an evaluation and a model: requests and responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from davsp.data.conversation import Conversation, ImageContent, Message, Messages, check_roles, one_turn
from davsp.errors import InputError
from davsp.models.probe import KnownKinds, Probe

BLOCKED = "davsp_blocked"
"""Where the metadata of an output of Inspect's hold why the service blocked the request."""


@dataclass(frozen=True, eq=False)
class Watch:
    """What a loaded model looks for in itself as it reads a request. One that the probe scores above `threshold` is not
    answered; of `known` kinds it is told whether the request is one of them."""

    probe: Probe
    threshold: float
    known: KnownKinds | None = None

    def flags(self, projection: float) -> bool:
        """Whether a request is flagged; what is no number is."""
        return not projection <= self.threshold


@dataclass(frozen=True, init=False)
class Request(Conversation):
    """What a model is asked: a conversation, most often one question about one image.

    The answer is to begin with `begun`. It is greedy, or at a `temperature` above 0 a draw that `seed` decides,
    whatever other requests are answered at the same time. With `watch`, it is answered in the pass that reads it, or
    flagged and not answered.
    """

    messages: Messages
    begun: str
    temperature: float
    seed: int
    watch: Watch | None

    def __init__(
        self,
        messages: Sequence[Message] | str,
        image: ImageContent | None = None,
        begun: str = "",
        temperature: float = 0.0,
        seed: int = 0,
        watch: Watch | None = None,
    ) -> None:
        """A text in place of `messages` is one question, about `image` or none. Raises InputError for a conversation
        that no model can answer, or a temperature below 0."""
        if temperature < 0:
            raise InputError(f"temperature {temperature:g} is not possible. Use 0, or more to sample.")
        said = one_turn(messages, () if image is None else (image,)) if isinstance(messages, str) else tuple(messages)
        check_roles([message.role for message in said])
        fields = {"messages": said, "begun": begun, "temperature": temperature, "seed": seed, "watch": watch}
        for name, value in fields.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Response:
    """What a model said after `begun`. `finished`: it ended by itself, not at the limit of tokens.

    `input_tokens` and `output_tokens` are None where the model does not tell them. `projection` is what a request with
    a watch was scored by its probe; None where the model did not look.
    `unfamiliar`: it is of none of the kinds that the watch knows; None where it knows none.
    """

    text: str
    finished: bool
    input_tokens: int | None
    output_tokens: int | None
    projection: float | None = None
    unfamiliar: bool | None = None


def by_images(asked: Sequence[Conversation]) -> list[list[int]]:
    """The places of conversations of as many images, together: beside one with more, some models take the room that is
    left empty for an image."""
    groups: dict[int, list[int]] = {}
    for place, each in enumerate(asked):
        groups.setdefault(len(each.images), []).append(place)
    return list(groups.values())


def seeded_sampling(requests: Sequence[Request]) -> list[Any]:
    """What draws the tokens of requests with a temperature, as transformers takes it; [] where none has one."""
    if not any(request.temperature for request in requests):
        return []
    from davsp.models.sampling import SeededSampling  # its base class takes transformers a second to import

    return [SeededSampling(requests)]
