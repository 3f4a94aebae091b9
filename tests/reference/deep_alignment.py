"""The paper's method written slowly and obviously: one sample at a time, every hidden state kept.

Nothing of the package's own losses, hooks, batching or optimisers is used here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Sample:
    """interior: float32 (3, h, w) in [0, 1]. prompt, answer: token ids; the answer ends with the end token."""

    interior: Tensor
    prompt: list[int]
    answer: list[int]
    malicious: bool


def canvas(prompt: Tensor, interior: Tensor, border: int) -> Tensor:
    """The border outside, the image inside, pixel by pixel."""
    out = prompt.clone()
    _, height, width = prompt.shape
    out[:, border : height - border, border : width - border] = interior
    return out


def hidden_state(model: nn.Module, normalised: Tensor, tokens: list[int], layer: int) -> Tensor:
    """hidden_states[layer] of the last token of `tokens`, from a full forward pass without padding."""
    out = model(
        pixel_values=normalised[None],
        input_ids=torch.tensor([tokens]),
        output_hidden_states=True,
        use_cache=False,
    )
    state: Tensor = out.hidden_states[layer][0, -1]
    return state


def harmfulness_vector(malicious: list[Tensor], benign: list[Tensor]) -> Tensor:
    """Difference of the class means, at unit length."""
    difference = torch.stack(malicious).mean(0) - torch.stack(benign).mean(0)
    unit: Tensor = difference / difference.norm()
    return unit


def alignment(projection: Tensor, malicious: bool, tau_plus: float, tau_minus: float) -> Tensor:
    """The two hinges."""
    zero = torch.zeros(())
    if malicious:
        return torch.maximum(zero, tau_plus - projection)
    return torch.maximum(zero, projection - tau_minus)


def answer_cross_entropy(model: nn.Module, normalised: Tensor, prompt: list[int], answer: list[int]) -> Tensor:
    """Mean of -log p(token | all before it) over the answer, in a forward pass of its own."""
    out = model(pixel_values=normalised[None], input_ids=torch.tensor([prompt + answer]), use_cache=False)
    probabilities = out.logits[0].softmax(-1)
    each = [-probabilities[len(prompt) - 1 + i, token].log() for i, token in enumerate(answer)]
    return torch.stack(each).mean()


@dataclass
class Method:
    """The method with its constants."""

    model: nn.Module
    mean: Tensor
    std: Tensor
    border: int
    layer: int
    direction: Tensor
    tau_plus: float
    tau_minus: float
    answer_weight: float

    def loss(self, prompt: Tensor, sample: Sample, answered: bool) -> Tensor:
        seen = (canvas(prompt, sample.interior, self.border) - self.mean) / self.std
        state = hidden_state(self.model, seen, sample.prompt, self.layer)
        total = alignment((state * self.direction).sum(), sample.malicious, self.tau_plus, self.tau_minus)
        if answered:
            total = total + self.answer_weight * answer_cross_entropy(self.model, seen, sample.prompt, sample.answer)
        return total

    def signed_step(self, prompt: Tensor, batch: list[Sample], answered: bool, size: float) -> Tensor:
        """One step of the paper's optimiser on the mean loss of the batch, then the nearest valid pixels."""
        prompt = prompt.clone().requires_grad_()
        torch.stack([self.loss(prompt, s, answered) for s in batch]).mean().backward()
        assert prompt.grad is not None
        return (prompt.detach() - size * prompt.grad.sign()).clamp(0, 1)
