"""What passes between a defence, an evaluation and a model: requests and responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from davsp.errors import InputError

BLOCKED = "davsp_blocked"
"""Where the metadata of an output of Inspect's hold why the service blocked the request."""


@dataclass(frozen=True, eq=False)
class Watch:
    """What a loaded model looks for in itself as it reads a request: the last prompt token's state after decoder layer
    `layer`, projected on `direction`, float32 (hidden,). A request that projects above `threshold` is not answered."""

    layer: int
    direction: Tensor
    threshold: float

    def flags(self, projection: float) -> bool:
        """Whether a request is flagged; what is no number is."""
        return not projection <= self.threshold


@dataclass(frozen=True)
class Request:
    """One question to a model, about an image or about none.

    The answer is to begin with `begun`. It is greedy, or at a `temperature` above 0 a draw that `seed` decides,
    whatever other requests are answered at the same time. With `watch`, it is answered in the pass that reads it, or
    flagged and not answered.
    """

    question: str
    image: Path | bytes | Image.Image | None = None
    begun: str = ""
    temperature: float = 0.0
    seed: int = 0
    watch: Watch | None = None

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise InputError(f"temperature {self.temperature:g} is not possible. Use 0, or more to sample.")


@dataclass(frozen=True)
class Response:
    """What a model said after `begun`. `finished`: it ended by itself, not at the limit of tokens.

    `input_tokens` and `output_tokens` are None where the model does not tell them. `projection` is what a request with
    a watch was projected at; None where the model did not look.
    """

    text: str
    finished: bool
    input_tokens: int | None
    output_tokens: int | None
    projection: float | None = None


def seeded_sampling(requests: Sequence[Request]) -> list[Any]:
    """What draws the tokens of requests with a temperature, as transformers takes it; [] where none has one."""
    if not any(request.temperature for request in requests):
        return []
    from davsp.models.sampling import SeededSampling  # its base class takes transformers a second to import

    return [SeededSampling(requests)]
