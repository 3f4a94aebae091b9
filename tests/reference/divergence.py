"""The divergence that holds benign answers, written slowly and obviously: one position at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def divergence(p_logits: Tensor, q_logits: Tensor, top: int | None = None) -> Tensor:
    """KL(p || q) in nats of two next-token distributions, logits (vocabulary,). With `top`, the likeliest tokens of p
    are told apart and all others are one."""
    p, q = p_logits.double().softmax(0), q_logits.double().softmax(0)
    if top is not None:
        chosen = p.argsort(descending=True)[:top].tolist()
        others = [i for i in range(len(p)) if i not in chosen]
        p, q = (torch.stack([*(d[i] for i in chosen), d[others].sum()]) for d in (p, q))
    return torch.stack([a * (a.log() - b.log()) for a, b in zip(p, q, strict=True)]).sum()


def answer_divergence(p_logits: Tensor, q_logits: Tensor, top: int | None = None) -> Tensor:
    """Its mean over the positions of an answer, logits (T, vocabulary)."""
    each = [divergence(p, q, top) for p, q in zip(p_logits, q_logits, strict=True)]
    return torch.stack(each).mean()


def multiplier_after(value: float, divergences: list[float], bound: float, rate: float) -> float:
    """A multiplier after steps of those divergences."""
    for found in divergences:
        value *= math.exp(rate * min(1.0, found / bound - 1))
    return value
