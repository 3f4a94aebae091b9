"""The Deep Alignment loss, term by term (paper, section on deep alignment)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def alignment_loss(
    projections: Float[Tensor, " b"], malicious: bool, tau_plus: float, tau_minus: float | Float[Tensor, " b"]
) -> Float[Tensor, " b"]:
    """Hinge on the projection p = <h_L, d_L> of each query, float32 (B,) to (B,).

    Malicious queries: max(0, tau_plus - p). Benign queries: max(0, p - tau_minus), which may be each query's own.
    """
    return F.relu(tau_plus - projections) if malicious else F.relu(projections - tau_minus)


def answer_loss(
    logits: Float[Tensor, "n vocabulary"], labels: Int[Tensor, " n"], rows: Int[Tensor, " n"], batch: int
) -> Float[Tensor, " b"]:
    """Mean cross-entropy per answer token of each query, float32 (B,).

    logits: (N, vocabulary) at the N answer positions of the batch; labels: int64 (N,); rows: int64 (N,), the
    query each position belongs to; batch: B.
    """
    each = F.cross_entropy(logits, labels, reduction="none")
    total = each.new_zeros(batch).index_add(0, rows, each)
    count = each.new_zeros(batch).index_add(0, rows, torch.ones_like(each))
    return total / count
