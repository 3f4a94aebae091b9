"""What a training run can be told. Every field is also a key of a recipe's `train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from davsp.prompts.layouts import Mode
from davsp.prompts.text import SAFETY_PREFIX
from davsp.training.choices import Direction, FitOn
from davsp.training.optim import Method
from davsp.util.options import Count, Positive, Weight, read_options


class Sampling(StrEnum):
    """Which queries a step sees."""

    BOTH = "both"
    """Half of the batch is malicious, half benign."""
    COIN = "coin"
    """A fair coin chooses a malicious or a benign batch (the paper's)."""


class Recompute(StrEnum):
    """Whether decoder blocks are computed again in the backward pass, which saves memory and costs time."""

    AUTO = "auto"
    """As many of them as must be, once a step does not fit the GPU."""
    ALWAYS = "always"
    NEVER = "never"


class Start(StrEnum):
    """Where a border starts."""

    GREY = "grey"
    MEAN = "mean"
    """The mean colour that the model's image processor subtracts (the paper's)."""


class Anchor(StrEnum):
    """Where the thresholds of the alignment loss lie."""

    MEANS = "means"
    """At the means of the malicious and of the benign validation queries (the paper's)."""
    TEXTS = "texts"
    """Where malicious requests project that are asked as text; for benign queries, at the mean of their kind."""


class Benign(StrEnum):
    """What the answers to benign queries are held to."""

    ANSWERS = "answers"
    """To the words of the reference answer, by cross-entropy (the paper's)."""
    DIVERGENCE = "divergence"
    """To the undefended model's own distributions, by their Kullback-Leibler divergence."""


class TrainConfig(BaseModel):
    """A training run. The defaults are what we recommend; PAPER holds the paper's choices."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mode: Mode | None = Field(
        None,
        description="How the prompt meets the image: border (the image is shrunk into the middle of a square canvas, "
        "as in the paper), frame (images keep their own size within a frame that fits them) or additive (a bounded "
        "change on the image). Default: frame for models that take images of any size, border for the others.",
    )
    width: Positive | None = Field(
        None,
        description="Width of the border in pixels. Default: the multiple of the model's patch nearest to the paper's "
        "share of the canvas.",
    )
    side: Positive | None = Field(
        None,
        description="Side in pixels of the square canvas, for models that take images of any size. Default: the "
        "paper's 336.",
    )
    eps: float = Field(32 / 255, gt=0, le=1, description="Largest change of a pixel with mode=additive, in [0, 1].")
    prefix: str = Field(SAFETY_PREFIX, description="The safety prefix before every question; empty for none.")
    direction: Direction = Field(
        Direction.MEAN,
        description="How the harmfulness vector is made: mean (difference of the means of malicious and benign "
        "queries), matched (the same within kinds of query), lda (that, whitened), or logistic (regression).",
    )
    fit_on: FitOn = Field(
        FitOn.IMAGES,
        description="What the harmfulness vector is made from: images (the training queries as they are) or texts "
        "(their requests asked as text).",
    )
    layer: Positive | None = Field(
        None,
        description="Decoder layer of the alignment loss, from 1. Default: the vector's own, the earliest at which the "
        "separation of malicious and benign validation queries (Cohen's d) is within one standard error of the best.",
    )
    anchor: Anchor = Field(
        Anchor.MEANS,
        description="Where the default thresholds lie: means (of the malicious and the benign validation queries) or "
        "texts (malicious queries are pushed to where malicious requests lie that are asked as text, benign ones are "
        "held at the mean of their kind).",
    )
    in_deviations: bool = Field(
        False,
        description="Whether the alignment loss counts in standard deviations of the projections, so that one weight "
        "serves every direction and layer.",
    )
    margin: float = Field(
        0.0,
        gt=-0.5,
        description="How far beyond the measured class means the default thresholds lie, as a share of the means' "
        "distance; a negative one puts them between the means.",
    )
    tau_plus: float | None = Field(
        None,
        description="Projection that malicious queries are pushed above. Default: the malicious mean and the margin.",
    )
    tau_minus: float | None = Field(
        None, description="Projection that benign queries are pushed below. Default: the benign mean less the margin."
    )
    alignment_weight: Weight = Field(1.0, description="Weight of the alignment loss; 0 is the ablation without it.")
    answer_weight: Weight = Field(
        1.0, description="Weight of the cross-entropy of the reference answer, the paper's lambda."
    )
    benign: Benign = Field(
        Benign.ANSWERS,
        description="What the answers to benign queries are held to: answers (the words of the reference answer, by "
        "cross-entropy) or divergence (what the undefended model itself says there, by the Kullback-Leibler divergence "
        "along its own greedy answers; reference answers are not read).",
    )
    keep: float | None = Field(
        0.003,
        gt=0,
        allow_inf_nan=False,
        description="With benign=divergence: the bound of that divergence, in nats a token, which a Lagrange "
        "multiplier holds. null: none; it is weighted by answer_weight.",
    )
    keep_lookalikes: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="The same of harmless queries that look harmful, which have a multiplier of their own. Default: "
        "that of keep.",
    )
    divergence_top: Positive = Field(
        64,
        description="With benign=divergence: so many of the likeliest tokens are told apart at every position; the "
        "rest count as one.",
    )
    refusal_share: float = Field(
        0.05, ge=0, le=1, description="How often a malicious batch is also trained towards its refusal."
    )
    sampling: Sampling = Field(
        Sampling.BOTH,
        description="What a step sees: both (half of the batch malicious, half benign) or coin (a fair coin chooses a "
        "malicious or a benign batch).",
    )
    batch_size: Positive = Field(32, description="Queries of a step.")
    micro_batch: Positive = Field(
        8,
        description="Queries of one side that go through the model at once, which decides how much memory is needed. "
        "Any number of processes that share the micro-batches of a step trains the same prompt.",
    )
    recompute: Recompute = Field(
        Recompute.AUTO,
        description="Whether decoder blocks keep their inputs alone for the backward pass and are computed again there "
        "(activation checkpointing): auto (as many of them as must be, once a step does not fit the GPU's memory), "
        "always (all of them: the least memory, and half as much time again) or never.",
    )
    compile: bool = Field(
        False,
        description="Whether decoder blocks are compiled by torch.compile, which takes a while at the first step and "
        "makes every other one faster: for long trainings on a GPU. It needs a C++ compiler.",
    )
    steps: Positive = Field(60, description="Steps of the training.")
    method: Method = Field(
        Method.ADAM,
        description="How a gradient becomes a step: adam, or sign (every channel moves by the step size against the "
        "sign of its gradient).",
    )
    step_size: float = Field(0.02, gt=0, le=1, description="Size of a step in pixel units: 1/255 is one 8-bit level.")
    start: Start = Field(
        Start.GREY,
        description="Colour of the prompt before the first step: grey, or mean (the mean colour that the model's image "
        "processor subtracts).",
    )
    clamp: bool = Field(
        True,
        description="Whether pixels are kept in [0, 1] at every step. A prompt beyond it is no image that could be "
        "saved or sent.",
    )
    cosine_decay: bool = Field(
        True,
        validation_alias=AliasChoices("cosine_decay", "falling"),
        description="Whether the step size decays to 5 % along a half cosine.",
    )
    augment: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the images that are sent through a channel while they are trained with: JPEG or WEBP of "
        "quality 30 to 95, resized to 0.5 to 1.0 and back, cropped by 2 pixels at most, or rounded to 8 bits.",
    )
    seed: Count = Field(0, description="Of the order of queries, and of all that is drawn.")
    validate_every: Positive = Field(20, description="Steps between two validations, which choose the prompt to keep.")
    own_answer_tokens: Positive = Field(
        24,
        description="Of a query that brings no answer, so many tokens of the model's own are trained towards: its "
        "undefended answer to a benign query, its own refusal to a malicious one.",
    )
    validation_answers: Count = Field(
        32, description="Malicious validation queries, and look-alikes, that are answered greedily at each validation."
    )


PAPER = {
    "answer_weight": 0.02,
    "sampling": Sampling.COIN,
    "batch_size": 2,
    "steps": 1200,
    "method": Method.SIGN,
    "step_size": 1 / 255,
    "cosine_decay": False,
    "start": Start.MEAN,
    "clamp": False,
}
"""The paper's choices where they differ from ours (its section on deep alignment and its experimental settings); its
thresholds are the two class means, as ours."""

NO_DEEP_ALIGNMENT = {"alignment_weight": 0.0, "answer_weight": 1.0, "refusal_share": 1.0}
"""The paper's ablation: a prompt that is trained on answers alone."""


def read_config(
    options: Mapping[str, Any] = MappingProxyType({}), assignments: Sequence[str] = (), paper: bool = False
) -> TrainConfig:
    """Options by name, overridden by "name=value" assignments; the rest is ours or the paper's.

    Raises InputError naming the option that is unknown or has a bad value.
    """
    return read_options(TrainConfig, {**(PAPER if paper else {}), **options}, assignments)
