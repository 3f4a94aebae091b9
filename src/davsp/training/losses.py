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
    return _mean_of_each(F.cross_entropy(logits, labels, reduction="none"), rows, batch)


def divergence_loss(
    logits: Float[Tensor, "n vocabulary"],
    tokens: Int[Tensor, "n k"],
    log_probabilities: Float[Tensor, "n k"],
    rows: Int[Tensor, " n"],
    batch: int,
) -> Float[Tensor, " b"]:
    """Kullback-Leibler divergence KL(p || q) in nats of each query, float32 (B,), averaged over its answer's tokens.

    logits: (N, vocabulary), of q, at the N answer positions of the batch. Of p are known the log-probabilities, float32
    (N, k), of k < vocabulary tokens, int64 (N, k); all other tokens are one outcome, as they then are for q. That is
    never more than the divergence over all tokens. rows, batch: as for `answer_loss`.
    """
    whole = logits.logsumexp(-1)
    log_q = logits.gather(1, tokens) - whole[:, None]
    log_q_rest = logits.scatter(1, tokens, -torch.inf).logsumexp(-1) - whole
    p = log_probabilities.exp()
    rest = (1 - p.sum(-1)).clamp(min=0)
    each = (p * (log_probabilities - log_q)).sum(-1) + torch.xlogy(rest, rest) - rest * log_q_rest
    return _mean_of_each(each, rows, batch)


def _mean_of_each(each: Float[Tensor, " n"], rows: Int[Tensor, " n"], batch: int) -> Float[Tensor, " b"]:
    """The mean of each query's values, float32 (B,)."""
    total = each.new_zeros(batch).index_add(0, rows, each)
    count = each.new_zeros(batch).index_add(0, rows, torch.ones_like(each))
    return total / count
