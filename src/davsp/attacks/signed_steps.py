"""One bounded change of images, fitted by signed steps to a corpus of sentences and an empty prompt.

UniGuard makes the sentences less likely, ESIII more likely; all else is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from davsp.errors import InputError
from davsp.imaging.pixels import from_bytes, to_bytes
from davsp.models.base import VisionLanguageModel
from davsp.prompts.layouts import AdditiveLayout
from davsp.prompts.visual import VisualPrompt
from davsp.training.batches import Shuffle
from davsp.training.loop import Fitting
from davsp.training.losses import answer_loss
from davsp.training.run_state import Record
from davsp.util.options import Count, Positive


class ChangeOptions(BaseModel):
    """How a change is fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    eps: float = Field(32 / 255, gt=0, le=1, description="Bound of the change of a pixel, in [0, 1].")
    side: Positive | None = Field(
        None,
        description="Side in pixels of the square that is changed, for models that take any size; default: the "
        "paper's 336.",
    )
    steps: Positive = Field(5000, description="Steps of the fitting.")
    step_size: float = Field(1 / 255, gt=0, le=1, description="Change of a pixel in one step, in [0, 1].")
    batch_size: Positive = Field(1, description="Sentences, and as many images, that one step sees.")
    seed: Count = Field(0, description="Of the order of sentences and images.")


class ChangeFitting(Fitting):
    """Signed steps that raise the cross-entropy of the sentences (`raising`), or lower it.

    Each step sees `batch_size` sentences and as many images, both in shuffled passes. The change stays within `eps`,
    and what a model sees of image and change is clamped to valid pixels. Raises InputError without sentences or images.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        options: ChangeOptions,
        sentences: Sequence[str],
        images: Sequence[Image.Image],
        *,
        raising: bool,
    ) -> None:
        if not sentences or not images:
            raise InputError("a change is fitted to sentences and images: give at least one of each.")
        self.model, self.options, self.steps = model, options, options.steps
        self.sign = 1.0 if raising else -1.0
        self.layout = AdditiveLayout.for_model(model, side=options.side, width=None, eps=options.eps)
        # A sentence goes on where the corpus was cut: the end token is no part of it.
        self.sentences = [model.answer_ids(sentence)[:-1] for sentence in sentences]
        self.images = [to_bytes(self.layout.interior(image)) for image in images]
        self.prompt = model.prompt_ids("", size=self.layout.size)
        self.change = self.layout.start(torch.zeros(3)).to(model.device)
        self.orders = (Shuffle(len(sentences), options.seed, 0), Shuffle(len(images), options.seed, 1))

    def loss(self, change: Tensor, sentences: Sequence[int], images: Sequence[int]) -> Tensor:
        """Mean cross-entropy per token of the sentences after the images, changed; a scalar."""
        inside = from_bytes(torch.stack([self.images[i] for i in images])).to(self.model.device)
        chosen = [self.sentences[i] for i in sentences]
        tokens = self.model.tokens([self.prompt] * len(chosen), chosen)
        final = self.model.forward(self.layout.compose(change, inside), tokens)
        rows, columns = tokens.rows, tokens.columns
        logits = self.model.logits(final[rows, columns])
        return answer_loss(logits, tokens.labels[rows, columns], rows, len(chosen)).mean()

    def step(self, number: int) -> Record:
        size = self.options.batch_size
        sentences, images = (order.take(number * size, size) for order in self.orders)
        change = self.change.clone().requires_grad_()
        loss = self.loss(change, sentences, images)
        gradient = torch.autograd.grad(loss, change)[0]
        self.change += self.sign * self.options.step_size * gradient.sign()
        self.layout.project_(self.change)
        return {"corpus_loss": loss.item()}

    def state(self) -> Record:
        return {"change": self.change.cpu()}

    def restore(self, state: Record) -> None:
        self.change.copy_(state["change"])

    def identity(self) -> Record:
        return {
            "config": self.options.model_dump(mode="json"),
            "model": self.model.name,
            "weights": self.model.weights,
            "raising": self.sign > 0,
            "data": self.digests(),
        }

    def digests(self) -> dict[str, str]:
        """SHA-256 of the sentences and of the images, as prepared."""
        images = hashlib.sha256(b"".join(image.numpy().tobytes() for image in self.images))
        return {"corpus": hashlib.sha256(repr(self.sentences).encode()).hexdigest(), "images": images.hexdigest()}

    def visual(self) -> VisualPrompt:
        """The change as it is now."""
        return VisualPrompt(self.layout, self.change.cpu())
