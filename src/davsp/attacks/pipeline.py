"""A defended model as an attacker sees who knows it: from pixels and question to the loss of what it says.

The gradient goes through what a defence does to the image (shrinking, border, rounding to 8 bits), the prefix is before
the question, and a gate is a part of the loss, as Tramer et al. (2020) ask of an adaptive attack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from davsp.data.query import Query
from davsp.defences.alarm import Alarm
from davsp.defences.base import Defence, RewritingDefence
from davsp.defences.gate import Gate
from davsp.defences.prompted import PromptDefence
from davsp.errors import InputError
from davsp.imaging.flattening import flattened
from davsp.imaging.opening import open_image
from davsp.imaging.pixels import Pixels, fit, resize, rounded, stack
from davsp.models.activations import last_prompt_states, states_and_final
from davsp.models.base import VisionLanguageModel, size_of
from davsp.prompts.visual import VisualPrompt
from davsp.training.losses import answer_loss

MARGIN = 0.02
"""How far below a gate's threshold a query is brought, in units of `Pipeline.scale`: batches round differently."""
REMEMBERED = 8192
"""Prompts that are kept as tokens."""


class Aim(StrEnum):
    """What a loss falls towards."""

    ANSWER = "answer"
    """The wanted answer, teacher-forced."""
    PROJECTION = "projection"
    """A low projection on the direction of the defence."""
    BOTH = "both"


class Case(NamedTuple):
    """A query as it is attacked now, and the tokens of the answer that is wanted."""

    query: Query
    answer: Sequence[int]


class Outcome(NamedTuple):
    """losses: float32 (B,). broken: whether the wanted answer is what is said, bool (B,)."""

    losses: Float[Tensor, " b"]
    broken: Bool[Tensor, " b"]


class _Pass(NamedTuple):
    """One pass: cross-entropy (B,), whether every wanted token is the first choice (B,), and projections (B,)."""

    entropy: Tensor
    said: Tensor
    projection: Tensor


@dataclass(frozen=True)
class Stage:
    """One asking of the model: what lies on the image, and what becomes of the question."""

    visual: VisualPrompt | None
    rewrite: Callable[[Query], str]
    flatten: int = 0
    """Levels of 255 within which colours are brought together first; 0: they are left as they are."""

    @classmethod
    def of(cls, defence: Defence) -> Stage:
        """Raises InputError for a defence that cannot be seen through, as its `rewrite` does for one that changes
        images in a way of its own."""
        if isinstance(defence, Alarm):  # which changes no answer
            return cls.of(defence.inner)
        if isinstance(defence, PromptDefence):
            return cls(defence.visual, lambda query: defence.apply_to_texts([query.question])[0])
        if isinstance(defence, RewritingDefence):
            return cls(None, lambda query: _question(defence, query))
        raise InputError(
            f"{defence.name} asks the model several times, or changes its answers, and has no gradient: attack `none` "
            "or another defence, and evaluate what comes of it behind this one."
        )


def _question(defence: RewritingDefence, query: Query) -> str:
    """What becomes of a question. Raises InputError where the image is changed too."""
    defended = defence.defend(query)
    if defended.image is not query.image and open_image(defended.image) != open_image(query.image):
        raise InputError(
            f"{defence.name} changes images in a way that has no gradient: attack `none` or another defence, and "
            "evaluate what comes of it behind this one."
        )
    return defended.question


class Pipeline:
    """What stands between an attacked query and the answer: a defence that asks once, or a gate before one.

    Raises InputError for a defence that is neither, ArtefactError for one that was made for another model.
    """

    def __init__(self, model: VisionLanguageModel, defence: Defence) -> None:
        defence.check(model)
        defence = defence.on_canvas(model.canvas)
        self.model, self.name, self.identity = model, defence.name, defence.identity
        self.threshold: float | None = None
        self.refusal_threshold = float("inf")
        self.probe = defence.alignment
        low, high = defence.thresholds or (0.0, 0.0)
        self.scale = max(1.0, abs(high - low))
        """What projections are counted in: the distance of a defence's thresholds or a gate's size, at least 1."""
        self.behind: Stage | None = None
        self.read: Stage | None = None
        """What a gate reads; None for what it lets pass."""
        if isinstance(defence, Gate):
            self.threshold = defence.facts.threshold
            if defence.facts.refusal_threshold is not None:
                self.refusal_threshold = defence.facts.refusal_threshold
            self.scale = max(1.0, abs(self.threshold))
            self.first = Stage(None, lambda query: query.question)
            flatten = defence.facts.flatten
            self.read = replace(self.first, flatten=flatten) if flatten else None
            self.behind = replace(Stage.of(defence.inner), flatten=flatten) if defence.inner else None
        else:
            self.first = Stage.of(defence)
        self._prompt = lru_cache(REMEMBERED)(model.prompt_ids)

    @property
    def stages(self) -> list[Stage]:
        """Every way in which the model may be asked."""
        return [stage for stage in (self.first, self.read, self.behind) if stage]

    def view(self, stage: Stage, image: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 _ _"]:
        """An image as the model sees it, in the 256 levels of a file; differentiable."""
        image, canvas = rounded(image), self.model.canvas
        if stage.flatten:
            image = flattened(image, stage.flatten)
        height, width = size_of(image)
        if stage.visual is None:
            tall, wide = canvas.choose(height, width)
            stretched = canvas.any_size and (tall, wide) != (height, width)
            return resize(image, tall, wide, Image.Resampling.BICUBIC) if stretched else fit(image, tall, wide)
        inside = stage.visual.layout.interior(Image.new("RGB", (width, height)))
        visual = replace(stage.visual, pixels=stage.visual.pixels.to(image.device))
        return rounded(visual.compose([fit(image, inside.height, inside.width)])[0])

    def outcome(
        self, images: Sequence[Float[Tensor, "3 _ _"]], cases: Sequence[Case], aim: Aim = Aim.ANSWER
    ) -> Outcome:
        """How far the images (3, H, W) are from what is aimed at, and whether they are there; differentiable in them.

        Behind a gate there are two ways: to lie below its threshold and have the undefended answer, or to be flagged
        and break what stands behind it. The nearer one counts.
        """
        first = self._pass(self.first, images, cases)
        if self.threshold is None:
            losses = first.entropy if aim is Aim.ANSWER else first.projection / self.scale
            return Outcome(losses + first.entropy if aim is Aim.BOTH else losses, first.said)
        projection = self._projection(self.read, images, cases) if self.read else first.projection
        above = (projection - self.threshold) / self.scale
        losses = torch.relu(above + MARGIN) + (first.entropy if aim is not Aim.PROJECTION else 0)
        broken = first.said & (above < -MARGIN / 2)
        if self.behind is None or aim is Aim.PROJECTION:
            return Outcome(losses, broken)
        second = self._pass(self.behind, images, cases)
        below = (self.refusal_threshold - projection) / self.scale  # what is above that is refused
        losses = torch.minimum(losses, second.entropy + torch.relu(MARGIN - above) + torch.relu(MARGIN - below))
        return Outcome(losses, broken | (second.said & (above > MARGIN / 2) & (below > MARGIN / 2)))

    def _pass(self, stage: Stage, images: Sequence[Tensor], cases: Sequence[Case]) -> _Pass:
        model = self.model
        seen, prompts = self._asked(stage, images, cases)
        tokens = model.tokens(prompts, [case.answer for case in cases])
        rows, columns = tokens.rows, tokens.columns
        if self.probe is None:
            final, projection = model.forward(seen, tokens), torch.zeros(len(cases), device=model.device)
        else:
            states, final = states_and_final(model, seen, tokens, self.probe.layers)
            projection = self.probe.score(states)
        logits, labels = model.logits(final[rows, columns]), tokens.labels[rows, columns]
        wrong = (logits.argmax(-1) != labels).long()
        missed = wrong.new_zeros(len(cases)).index_add(0, rows, wrong)
        return _Pass(answer_loss(logits, labels, rows, len(cases)), missed == 0, projection)

    def _projection(self, stage: Stage, images: Sequence[Tensor], cases: Sequence[Case]) -> Float[Tensor, " b"]:
        """The projections of a gate's reading, which no answer follows: a pass that ends at the last layer read."""
        assert self.probe is not None
        seen, prompts = self._asked(stage, images, cases)
        return self.probe.score(last_prompt_states(self.model, seen, self.model.tokens(prompts), self.probe.layers))

    def _asked(self, stage: Stage, images: Sequence[Tensor], cases: Sequence[Case]) -> tuple[Pixels, list[list[int]]]:
        """What the model sees of the images, and the prompts' tokens."""
        views = {id(image): self.view(stage, image) for image in images}  # one image may come with many questions
        seen = [views[id(image)] for image in images]
        prompts = [self._prompt(stage.rewrite(c.query), "", size_of(v)) for c, v in zip(cases, seen, strict=True)]
        return torch.stack(seen) if len({size_of(view) for view in seen}) == 1 else seen, prompts


def joint(
    pipelines: Sequence[Pipeline], images: Sequence[Tensor], cases: Sequence[Case], aim: Aim = Aim.ANSWER
) -> Outcome:
    """The mean loss of all pipelines, and whether all of them are broken."""
    outcomes = [pipeline.outcome(images, cases, aim) for pipeline in pipelines]
    losses = torch.stack([outcome.losses for outcome in outcomes]).mean(0)
    return Outcome(losses, torch.stack([outcome.broken for outcome in outcomes]).all(0))


def start_of(model: VisionLanguageModel, query: Query) -> Float[Tensor, "3 _ _"]:
    """A query's image at the size at which the undefended model sees it, which is that at which it is attacked."""
    if not query.is_short:
        raise InputError(f"query {query.id} is no question after an image: attacks through the model read no others.")
    return stack([model.canvas.resize(open_image(query.image, what=query.id))])[0].to(model.device)
