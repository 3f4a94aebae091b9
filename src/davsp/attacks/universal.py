"""One change of all images (Moosavi-Dezfooli et al. 2017), fitted to the queries that are attacked by signed steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from davsp.attacks.base import Attacked
from davsp.attacks.pgd import ImageAttack, ImageOptions
from davsp.attacks.pipeline import Case, joint, start_of
from davsp.attacks.wanted import cases_of
from davsp.data.digests import digest
from davsp.data.query import Query
from davsp.imaging.opening import png_bytes
from davsp.imaging.pixels import to_image
from davsp.models.base import size_of
from davsp.training.batches import Shuffle
from davsp.training.loop import Fitting, run_steps
from davsp.training.run_state import Record
from davsp.util.options import Positive


class UniversalOptions(ImageOptions):
    """How the change is fitted."""

    steps: Positive = Field(200, description="Steps of the fitting.")
    batch_size: Positive = Field(16, description="Queries that a step sees.")
    step_size: float = Field(1.0, gt=0, le=255, description="Change of a channel in a step, in levels of 255.")


class UniversalFitting(Fitting):
    """Signed steps down the mean loss of a batch of queries. `change`: float32 (3, H, W) within eps, of the size at
    which the model sees a square image; for images of other sizes it is stretched."""

    def __init__(self, attack: Universal, queries: Sequence[Query]) -> None:
        self.attack, self.queries, self.options = attack, queries, attack.options
        self.steps = self.options.steps
        self.cases = cases_of(attack.model, queries, self.options)
        self.starts = [start_of(attack.model, query) for query in queries]
        self.order = Shuffle(len(queries), attack.seed, 0)
        self.change = torch.zeros(3, *attack.model.canvas.square, device=attack.model.device)

    def step(self, number: int) -> Record:
        rows = self.order.take(number * self.options.batch_size, self.options.batch_size)
        change = self.change.clone().requires_grad_()
        images = [changed(self.starts[i], change) for i in rows]
        cases: list[Case] = [self.cases[i] for i in rows]
        losses, broken = joint(self.attack.knowledge.pipelines, images, cases, self.options.aim)
        gradient = torch.autograd.grad(losses.mean(), change)[0]
        eps = self.options.eps / 255
        self.change = (self.change - self.options.step_size / 255 * gradient.sign()).clamp(-eps, eps)
        return {"loss": losses.mean().item(), "broken": broken.float().mean().item()}

    def state(self) -> Record:
        return {"change": self.change.cpu()}

    def restore(self, state: Record) -> None:
        self.change.copy_(state["change"])

    def identity(self) -> Record:
        return {"options": self.options.model_dump(mode="json"), "data": digest(self.queries)}


class Universal(ImageAttack):
    """The same change for every image."""

    kind = "universal"
    about = "Changes all images by one perturbation within eps, fitted to the malicious queries together."
    Options = UniversalOptions

    options: UniversalOptions
    change: Tensor

    def prepare(self, queries: Sequence[Query], folder: Path, quiet: bool) -> None:
        fitting = UniversalFitting(self, queries)
        run_steps(fitting, folder / "fitting", title="Fitting one change", save_every=20, quiet=quiet)
        self.change = fitting.change

    @torch.inference_mode()
    def attack(self, queries: Sequence[Query]) -> list[Attacked]:
        images = [changed(start_of(self.model, query), self.change) for query in queries]
        broken = joint(self.knowledge.pipelines, images, cases_of(self.model, queries, self.options)).broken
        steps, passes = self.options.steps, sum(len(p.stages) for p in self.knowledge.pipelines)
        each = round(self.options.batch_size * steps / max(1, len(queries)))
        return [
            Attacked((query.with_image(png_bytes(to_image(image))),), steps, each * passes, steps if won else None)
            for query, image, won in zip(queries, images, broken.tolist(), strict=True)
        ]


def changed(image: Tensor, change: Tensor) -> Tensor:
    """An image (3, h, w) with the change (3, H, W), stretched to its size, in [0, 1]; differentiable."""
    if size_of(image) != size_of(change):
        change = functional.interpolate(change[None], size_of(image), mode="bilinear", align_corners=False)[0]
    return (image + change).clamp(0, 1)
