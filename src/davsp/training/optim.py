"""Optimisers in pixel units: after every step the prompt is moved back to valid pixels, unless told not to."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from davsp.prompts.layouts import Layout


class Method(StrEnum):
    """How a gradient becomes a step."""

    SIGN = "sign"
    """Every channel moves by `step_size` against the sign of its gradient (the paper's)."""
    ADAM = "adam"
    """Adam; every channel moves by about `step_size` where its gradient keeps its sign."""


class PixelOptimizer:
    """Minimises a loss over a visual prompt, float32 (3, H, W), within its layout's bounds unless `clamp` is False.

    step_size is in pixel units (1/255 is one 8-bit level). With `cosine_decay`, it decays to 5 % along a half cosine
    over `steps`.
    """

    BETAS = (0.9, 0.99)
    EPSILON = 1e-12
    """Far below the gradients of a mean loss over a canvas, which are small."""

    def __init__(
        self,
        prompt: Tensor,
        layout: Layout,
        method: Method,
        step_size: float,
        cosine_decay: bool,
        steps: int,
        clamp: bool = True,
    ) -> None:
        self.prompt, self.layout, self.method, self.clamp = prompt, layout, method, clamp
        self.step_size, self.cosine_decay, self.steps = step_size, cosine_decay, steps
        self.done = 0
        self.mean = torch.zeros_like(prompt)
        self.square = torch.zeros_like(prompt)

    def rate(self) -> float:
        """The size of the coming step, in pixel units."""
        if not self.cosine_decay:
            return self.step_size
        return self.step_size * (0.05 + 0.95 * (1 + math.cos(math.pi * self.done / self.steps)) / 2)

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """Move the prompt, then project it to what is valid."""
        rate = self.rate()
        self.done += 1
        if self.method is Method.SIGN:
            self.prompt -= rate * gradient.sign()
        else:
            first, second = self.BETAS
            self.mean.lerp_(gradient, 1 - first)
            self.square.lerp_(gradient.square(), 1 - second)
            mean = self.mean / (1 - first**self.done)
            square = self.square / (1 - second**self.done)
            self.prompt -= rate * mean / (square.sqrt() + self.EPSILON)
        self.layout.project_(self.prompt, self.clamp)

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.done, "mean": self.mean, "square": self.square}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.done = int(state["done"])
        self.mean.copy_(state["mean"])
        self.square.copy_(state["square"])
