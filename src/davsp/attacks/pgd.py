"""Projected gradient descent (PGD) on the image (Madry et al. 2018), through the defence where it is known.

What is descended, and what is looked at to see whether an image has won, is the image as an 8-bit file: the rounding is
passed over by the gradient. The bound is around the image at the size at which the model sees it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from davsp.attacks.base import Attack, Attacked, Knowledge, SearchOptions
from davsp.attacks.pipeline import Aim, Case, joint, start_of
from davsp.attacks.wanted import cases_of
from davsp.data.query import Query
from davsp.errors import InputError
from davsp.imaging.opening import png_bytes
from davsp.imaging.pixels import to_image
from davsp.util.options import Positive

FASTEST = 4.0
"""The largest default step, in levels."""


class ImageOptions(SearchOptions):
    """A bounded change of the image."""

    eps: int = Field(
        8, ge=1, le=255, description="Largest change of a channel, in levels of 255; 255 leaves the image unbounded."
    )
    aim: Aim = Field(
        Aim.ANSWER,
        description="What the loss falls towards: answer (the wanted answer), projection (a low one on the defence's "
        "direction) or both. Behind a gate the projection counts in any case.",
    )


class ImageAttack(Attack):
    """One that changes images by the gradient."""

    reads_model = True

    options: ImageOptions

    def __init__(self, options: ImageOptions, knowledge: Knowledge, seed: int) -> None:
        """Raises InputError for an aim at a projection where a pipeline has no direction."""
        super().__init__(options, knowledge, seed)
        without = next((p.name for p in knowledge.pipelines if p.probe is None), None)
        if options.aim is not Aim.ANSWER and without:
            raise InputError(
                f"{without} has no direction on which a projection could be lowered: leave aim=answer, or name a "
                "defence that has one (--against)."
            )


class PgdOptions(ImageOptions):
    """How an image is changed."""

    steps: Positive = Field(40, description="Steps of each start.")
    restarts: Positive = Field(
        1, description="Starts: the first at the image itself, others anywhere within the bound."
    )
    step_size: float | None = Field(
        None,
        gt=0,
        le=255,
        description="Change of a channel in a step, in levels. Default: 2.5 eps / steps, from 1 to 4.",
    )
    until_broken: bool = Field(
        True,
        description="Whether a query is done as soon as it gives in. Without, all steps are taken and the lowest loss "
        "is kept, which may carry further, to defences that the attack does not know.",
    )

    @property
    def rate(self) -> float:
        """The step in pixel units."""
        return (self.step_size or min(max(1.0, 2.5 * self.eps / self.steps), FASTEST)) / 255


class Pgd(ImageAttack):
    """A change of the image by signed gradient steps."""

    kind = "pgd"
    about = (
        "Changes the image within eps by signed gradient steps, through border, prefix and gate of the defences that "
        "it is run against. A query is done once all of them give in."
    )
    Options = PgdOptions
    traces = True

    options: PgdOptions

    def attack(self, queries: Sequence[Query]) -> list[Attacked]:
        options = self.options
        cases = cases_of(self.model, queries, options)
        starts = [start_of(self.model, query) for query in queries]
        best, lowest = list(starts), [(True, float("inf"))] * len(queries)
        looked = [0] * len(queries)
        broken_at: list[int | None] = [None] * len(queries)
        for restart in range(options.restarts):
            left = [i for i, at_step in enumerate(broken_at) if at_step is None or not options.until_broken]
            at = {i: self._begin(starts[i], queries[i], restart) for i in left}
            for step in range(options.steps + 1):
                if not at:
                    break
                rows = list(at)
                gradients, losses, broken = self._look([at[i] for i in rows], [cases[i] for i in rows])
                for i, gradient, loss, won in zip(rows, gradients, losses, broken, strict=True):
                    looked[i] += 1
                    if (not won, loss) < lowest[i]:
                        best[i], lowest[i] = at[i], (not won, loss)
                    if won and broken_at[i] is None:
                        broken_at[i] = restart * options.steps + step
                    if won and options.until_broken:
                        del at[i]
                    else:
                        at[i] = self._bounded(at[i] - options.rate * gradient.sign(), starts[i])
        passes = sum(len(pipeline.stages) for pipeline in self.knowledge.pipelines)
        return [
            Attacked(
                (query.with_image(png_bytes(to_image(image))),),
                steps=broken if broken is not None and options.until_broken else options.restarts * options.steps,
                calls=looks * passes,
                broken_at=broken,
            )
            for query, image, looks, broken in zip(queries, best, looked, broken_at, strict=True)
        ]

    def _begin(self, start: Tensor, query: Query, restart: int) -> Tensor:
        if restart == 0:
            return start
        seed = hashlib.sha256(f"{self.seed} {restart} {query.id}".encode()).digest()[:8]
        generator = torch.Generator().manual_seed(int.from_bytes(seed, "big") >> 1)
        change = (2 * torch.rand(start.shape, generator=generator) - 1) * self.options.eps / 255
        return self._bounded(start + change.to(start.device), start)

    def _bounded(self, image: Tensor, start: Tensor) -> Tensor:
        eps = self.options.eps / 255
        return torch.minimum(torch.maximum(image, start - eps), start + eps).clamp(0, 1)

    def _look(
        self, images: Sequence[Tensor], cases: Sequence[Case]
    ) -> tuple[Sequence[Tensor], list[float], list[bool]]:
        """The loss's gradient at each image, the losses, and which images have won."""
        leaves = [image.clone().requires_grad_() for image in images]
        losses, broken = joint(self.knowledge.pipelines, leaves, cases, self.options.aim)
        return torch.autograd.grad(losses.sum(), leaves), losses.tolist(), broken.tolist()
