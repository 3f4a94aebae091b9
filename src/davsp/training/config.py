"""What a training run can be told. Every field is also a key of a recipe's `train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from davsp.prompts.layouts import Mode
from davsp.prompts.text import SAFETY_PREFIX
from davsp.training.optim import Method
from davsp.util.options import Positive, Weight, read_options


class Sampling(StrEnum):
    """Which queries a step sees."""

    BOTH = "both"
    """Half of the batch is malicious, half benign."""
    COIN = "coin"
    """A fair coin chooses a malicious or a benign batch (the paper's)."""


class Start(StrEnum):
    """Where a border starts."""

    GREY = "grey"
    MEAN = "mean"
    """The mean colour that the model's image processor subtracts (the paper's)."""


class TrainConfig(BaseModel):
    """A training run. The defaults are what we recommend; PAPER holds the paper's choices."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode | None = None
    """Default: a frame for models that take images of any size, a border on a square canvas for the others."""
    width: Positive | None = None
    """Border width in pixels; default: the multiple of the patch nearest to the paper's share of the canvas."""
    side: Positive | None = None
    """Side in pixels of the square canvas of a border, for models that take any size; default: the paper's 336."""
    eps: Annotated[float, Field(gt=0, le=1)] = 32 / 255
    """Bound of an additive change, in pixel units."""
    prefix: str = SAFETY_PREFIX
    layer: Positive | None = None
    """Decoder layer of the alignment loss; default: the one the vector chose."""
    margin: Annotated[float, Field(gt=-0.5)] = 0.0
    """How far beyond the measured class means the default thresholds lie, as a share of the means' distance.

    A negative one puts them between the means.
    """
    tau_plus: float | None = None
    """Projection that malicious queries are pushed above; default: malicious mean and margin."""
    tau_minus: float | None = None
    """Projection that benign queries are pushed below; default: benign mean and margin."""
    alignment_weight: Weight = 1.0
    answer_weight: Weight = 1.0
    refusal_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """How often a malicious batch is also trained towards its refusal."""
    sampling: Sampling = Sampling.BOTH
    batch_size: Positive = 32
    micro_batch: Positive = 8
    """How many queries of one side go through the model at once: what memory is needed for. Any number of processes
    that share the micro-batches of a step trains the same prompt."""
    steps: Positive = 60
    method: Method = Method.ADAM
    step_size: Annotated[float, Field(gt=0, le=1)] = 0.02
    start: Start = Start.GREY
    clamp: bool = True
    """Whether pixels are kept in [0, 1] at every step. The paper's are not: such a border is no image."""
    falling: bool = True
    """Whether the step size decays along a half cosine."""
    seed: Annotated[int, Field(ge=0)] = 0
    validate_every: Positive = 20
    validation_answers: Annotated[int, Field(ge=0)] = 32
    """How many malicious validation queries are answered greedily at each validation."""


PAPER = {
    "answer_weight": 0.02,
    "sampling": Sampling.COIN,
    "batch_size": 2,
    "steps": 1200,
    "method": Method.SIGN,
    "step_size": 1 / 255,
    "falling": False,
    "start": Start.MEAN,
    "clamp": False,
}
"""The paper's choices where they differ (METHOD section 3); its thresholds are the two class means."""


def read_config(
    options: Mapping[str, Any] = MappingProxyType({}), assignments: Sequence[str] = (), paper: bool = False
) -> TrainConfig:
    """Options by name, overridden by "name=value" assignments; the rest is ours or the paper's.

    Raises InputError naming the option that is unknown or has a bad value.
    """
    return read_options(TrainConfig, {**(PAPER if paper else {}), **options}, assignments)
