"""What the undefended model says at each token of its own answers: its likeliest next tokens, kept in a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from davsp.data.digests import digest
from davsp.data.query import Query
from davsp.errors import MALFORMED, ArtefactError
from davsp.models.base import VisionLanguageModel
from davsp.training.batches import Target, target_ids
from davsp.util.batching import batched
from davsp.util.files import replacing
from davsp.util.processes import processes
from davsp.util.progress import bar

BATCH = 32


@dataclass(frozen=True)
class Distributions:
    """By query id, the likeliest tokens at each position of an answer, and their log-probabilities."""

    _tokens: Any
    """int32 (N, k): a tensor, or a slice of a mapped file."""
    _log_probabilities: Any
    """float32 (N, k)"""
    _positions: Mapping[str, tuple[int, int]]
    """The first and the last but one of a query's rows."""

    def of(self, names: Sequence[str], device: torch.device) -> tuple[Int[Tensor, "n k"], Float[Tensor, "n k"]]:
        """Tokens, int64 (N, k), and log-probabilities, float32 (N, k), at the answers of some queries, in order."""
        spans = [slice(*self._positions[name]) for name in names]
        tokens = torch.cat([self._tokens[span] for span in spans]).to(device, torch.int64)
        return tokens, torch.cat([self._log_probabilities[span] for span in spans]).to(device)


def undefended_distributions(
    model: VisionLanguageModel,
    queries: Sequence[Query],
    own: Mapping[str, Target],
    top: int,
    file: Path | None = None,
    *,
    quiet: bool = False,
) -> Distributions:
    """The model's distributions at the tokens of `own`, its undefended answers to `queries`, by id.

    Of each, the `top` likeliest tokens are kept (one less than there are, at most). With `file`, they are kept there,
    and read from there for the same model, queries and answers. Raises ArtefactError where it is damaged.
    """
    answers = {query.id: target_ids(model, own[query.id]) for query in queries}
    facts = [model.identity, str(model.canvas), digest(queries), top, list(answers.values())]
    identity = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    ends = [0, *accumulate(map(len, answers.values()))]
    positions = dict(zip(answers, pairwise(ends), strict=True))
    if file and file.is_file() and (found := _read(file, identity, positions)):
        return found
    parts: list[tuple[Tensor, Tensor]] = []
    with bar("The model's own distributions", len(queries), quiet=quiet) as advance:
        for batch in batched(queries, BATCH):
            parts.append(_distributions(model, batch, [answers[query.id] for query in batch], top))
            advance(len(batch))
    tokens, log_probabilities = (torch.cat(part) for part in zip(*parts, strict=True))
    if file and processes().is_main:
        content = {"tokens": tokens, "log_probabilities": log_probabilities}
        with replacing(file) as partial:
            save_file(content, partial, metadata={"identity": identity})
    return Distributions(tokens, log_probabilities, positions)


@torch.inference_mode()
def _distributions(
    model: VisionLanguageModel, queries: Sequence[Query], answers: Sequence[Sequence[int]], top: int
) -> tuple[Tensor, Tensor]:
    """int32 (N, k) and float32 (N, k), on the CPU: row by row, the answers' positions one after the other."""
    pixels = model.canvas_pixels(queries)
    tokens = model.tokens(model.prompts(queries, pixels), answers, [len(query.images) for query in queries])
    final = model.forward(pixels, tokens)
    logits = model.logits(final[tokens.rows, tokens.columns])
    likeliest = logits.log_softmax(-1).topk(min(top, logits.shape[-1] - 1), dim=-1)
    return likeliest.indices.int().cpu(), likeliest.values.cpu()


def _read(file: Path, identity: str, positions: Mapping[str, tuple[int, int]]) -> Distributions | None:
    """What a file holds, mapped into memory; None where it is of something else."""
    try:
        content: Any = safe_open(file, "pt")
        if (content.metadata() or {}).get("identity") != identity:
            return None
        return Distributions(content.get_slice("tokens"), content.get_slice("log_probabilities"), positions)
    except (OSError, SafetensorError, *MALFORMED) as error:
        raise ArtefactError(f"{file} is damaged: delete it, and it is made again.") from error
