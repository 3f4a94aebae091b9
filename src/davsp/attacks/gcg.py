"""Greedy coordinate gradient (GCG): a text of a fixed number of tokens that makes answers more likely, or less.

The gradient with respect to the one-hot tokens proposes replacements, the loss chooses among them. A candidate counts
only if its text, within the whole prompt, becomes its own tokens again: what is chosen is what a user will send.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from davsp.errors import ModelError
from davsp.models.base import VisionLanguageModel, size_of
from davsp.training.losses import answer_loss
from davsp.util.batching import batched

Ids = tuple[int, ...]
Length = Annotated[int, Field(gt=0, le=512)]
"""Of a text, in tokens."""
STARTS = (" !", " .", " ,")
"""What a text starts as, repeated: the first of these that stays as it is within a prompt."""
TRIES = 1000


@dataclass(frozen=True)
class Case:
    """An answer whose loss counts `weight` times, after an image (3, H, W) and a question that holds the text."""

    pixels: Tensor
    question: Callable[[str], str]
    """The whole question, given the text that is searched."""
    answer: Sequence[int]
    weight: float = 1.0


class TokenSearch:
    """Searches texts for one model. `chunk`: how many candidates run at a time."""

    def __init__(self, model: VisionLanguageModel, *, top_k: int, candidates: int, chunk: int) -> None:
        self.model, self.top_k, self.candidates, self.chunk = model, top_k, candidates, chunk

    @cached_property
    def allowed(self) -> Tensor:
        """int64 (N,): the tokens that texts are made of, which are printable ASCII and none of the model's own."""
        tokenizer = self.model.tokenizer
        special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
        ids = [i for i in range(len(tokenizer)) if i not in special]
        texts = [text.strip() for text in tokenizer.batch_decode([[i] for i in ids])]
        printable = [i for i, text in zip(ids, texts, strict=True) if text and text.isascii() and text.isprintable()]
        return torch.tensor(printable)

    def text(self, ids: Ids) -> str:
        return str(self.model.tokenizer.decode(list(ids)))

    def start(self, length: int, cases: Sequence[Case], rng: np.random.Generator) -> Ids:
        """A text of `length` tokens to start from. Raises ModelError when none is found that stays as it is."""
        for word in STARTS:
            ids = tuple(self.model.tokenizer(word * length, add_special_tokens=False)["input_ids"])
            if len(ids) == length and set(ids) <= set(self.allowed.tolist()) and self._prompts(ids, cases):
                return ids
        for _ in range(TRIES):
            ids = tuple(rng.choice(self.allowed.numpy(), length).tolist())
            if self._prompts(ids, cases):
                return ids
        raise ModelError(f"{self.model.name}: found no text of {length} tokens that its tokenizer leaves as it is.")

    def step(self, ids: Ids, cases: Sequence[Case], rng: np.random.Generator) -> tuple[Ids, float | None]:
        """The best of the candidates that differ from `ids` in one token, and its loss.

        `ids` and None where they do not stay as they are in these cases, or no candidate does.
        """
        if not self._prompts(ids, cases):
            return ids, None
        proposed = self.propose(ids, self.gradient(ids, cases), rng)
        stable = [candidate for candidate in proposed if self._prompts(candidate, cases)]
        if not stable:
            return ids, None
        losses = self.losses(stable, cases)
        best = int(losses.argmin())
        return stable[best], float(losses[best])

    def propose(self, ids: Ids, gradient: Tensor, rng: np.random.Generator) -> list[Ids]:
        """Candidates: at positions in turn, one of the `top_k` tokens that the gradient (length, N) says lower the
        loss most."""
        top = gradient.topk(min(self.top_k, gradient.shape[1]), largest=False).indices
        candidates = []
        for i in range(self.candidates):
            position = i % len(ids)
            token = int(self.allowed[int(top[position, int(rng.integers(top.shape[1]))])])
            candidates.append((*ids[:position], token, *ids[position + 1 :]))
        return [candidate for candidate in dict.fromkeys(candidates) if candidate != ids]

    def gradient(self, ids: Ids, cases: Sequence[Case]) -> Tensor:
        """float32 (length, N): the loss's gradient with respect to the one-hot tokens, of the allowed ones."""
        words = self.model.model.get_input_embeddings()
        allowed = self.allowed.to(self.model.device)
        one_hot = (torch.tensor(ids, device=allowed.device)[:, None] == allowed).float().requires_grad_()
        table = words(allowed).detach()
        gradient = torch.zeros_like(one_hot)
        for case, (prompt, begin) in zip(cases, self._prompts(ids, cases), strict=True):
            with self._embedded(words, one_hot.to(table.dtype) @ table, begin):
                loss = self._case_losses(case, [prompt]).sum()
            gradient += case.weight * torch.autograd.grad(loss, one_hot)[0]
        return gradient.cpu()

    @torch.inference_mode()
    def losses(self, candidates: Sequence[Ids], cases: Sequence[Case]) -> Tensor:
        """float32 (N,): the weighted loss of each candidate."""
        total = torch.zeros(len(candidates))
        rows = [[prompt for prompt, _ in self._prompts(ids, cases)] for ids in candidates]
        for case, prompts in zip(cases, zip(*rows, strict=True), strict=True):
            losses = [self._case_losses(case, chunk).cpu() for chunk in batched(prompts, self.chunk)]
            total += case.weight * torch.cat(losses)
        return total

    def _case_losses(self, case: Case, prompts: Sequence[list[int]]) -> Tensor:
        """Mean cross-entropy per token of the answer after each prompt, float32 (B,)."""
        tokens = self.model.tokens(prompts, [case.answer] * len(prompts))
        final = self.model.forward(case.pixels.expand(len(prompts), -1, -1, -1), tokens)
        rows, columns = tokens.rows, tokens.columns
        logits = self.model.logits(final[rows, columns])
        return answer_loss(logits, tokens.labels[rows, columns], rows, len(prompts))

    def _prompts(self, ids: Ids, cases: Sequence[Case]) -> list[tuple[list[int], int]]:
        """The prompt of each case as tokens, and where the text begins in it; [] if it does not stay in all of them."""
        placed = []
        for case in cases:
            prompt = self.model.prompt_ids(case.question(self.text(ids)), size=size_of(case.pixels))
            # From behind: what stands before a question may look like the text, but hardly what stands after it.
            ends = range(len(prompt) - len(ids), -1, -1)
            begin = next((i for i in ends if tuple(prompt[i : i + len(ids)]) == ids), None)
            if begin is None:
                return []
            placed.append((prompt, begin))
        return placed

    @contextmanager
    def _embedded(self, words: torch.nn.Module, text: Tensor, begin: int) -> Iterator[None]:
        """Let the model see `text` (length, hidden) at the tokens from `begin` on."""

        def replace(module: object, inputs: object, output: Tensor) -> Tensor:  # noqa: ARG001
            return torch.cat([output[:, :begin], text[None], output[:, begin + len(text) :]], dim=1)

        handle = words.register_forward_hook(replace)
        try:
            yield
        finally:
            handle.remove()
