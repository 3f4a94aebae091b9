"""What the model can do once it is trained, on the device that it was trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import LlamaModel

from davsp.testbed.smol.pretraining.asking import Asked, score
from davsp.testbed.smol.pretraining.generation import generate
from davsp.testbed.smol.pretraining.samples import PATCHES, Writer
from davsp.testbed.smol.pretraining.tower import Tower

ANSWER_TOKENS = 36
SHOWN = 6
"""Answers of each row that are told in full."""


@dataclass(frozen=True)
class Measured:
    """A model to be asked: the tower, transformers' own decoder with its LoRA merged, and what writes its prompts."""

    tower: Tower
    decoder: LlamaModel
    writer: Writer
    at_once: int

    def measure(self, asked: Sequence[Asked]) -> dict[str, Any]:
        """By row: how many were asked, the mean of each figure, and a few answers."""
        answers = self._answers(asked)
        rows: dict[str, list[tuple[Asked, str]]] = defaultdict(list)
        for each, answer in zip(asked, answers, strict=True):
            rows[each.row].append((each, answer))
        found: dict[str, Any] = {}
        for row, pairs in rows.items():
            scores = [score(each, answer) for each, answer in pairs]
            means = {name: round(sum(s[name] for s in scores) / len(scores), 4) for name in scores[0]}
            shown = [[each.reference or each.question, answer] for each, answer in pairs[:SHOWN]]
            # What harmful requests were answered with, and they themselves, are nobody's reading.
            found[row] = {"n": len(pairs), **means} | ({} if "harmful" in row else {"answers": shown})
        return found

    def _answers(self, asked: Sequence[Asked]) -> list[str]:
        prompts = [
            [
                *self.writer.opening,
                *([self.writer.end] * PATCHES if each.image is not None else []),
                *self.writer.question(each.question, after_image=each.image is not None),
            ]
            for each in asked
        ]
        order = sorted(range(len(asked)), key=lambda i: (asked[i].image is None, len(prompts[i])))
        answers = [""] * len(asked)
        for start in range(0, len(order), self.at_once):
            part = order[start : start + self.at_once]
            with_image = [i for i in part if asked[i].image is not None]
            for group in (with_image, [i for i in part if asked[i].image is None]):
                if group:
                    found = self._answer([asked[i] for i in group], [prompts[i] for i in group])
                    for i, answer in zip(group, found, strict=True):
                        answers[i] = answer
        return answers

    @torch.no_grad()
    def _answer(self, asked: Sequence[Asked], prompts: Sequence[Sequence[int]]) -> list[str]:
        device = self.decoder.embed_tokens.weight.device
        end, opening = self.writer.end, len(self.writer.opening)
        longest = max(map(len, prompts))
        tokens = torch.tensor([[end] * (longest - len(p)) + list(p) for p in prompts], device=device)
        embedded = self.decoder.embed_tokens(tokens)
        if asked[0].image is not None:
            pixels = torch.from_numpy(np.stack([each.image for each in asked if each.image is not None]))
            _, seen = self.tower(pixels.to(device).permute(0, 3, 1, 2).float() / 255)
            places = torch.tensor([longest - len(p) + opening for p in prompts], device=device)
            columns = places[:, None] + torch.arange(PATCHES, device=device)
            embedded[torch.arange(len(prompts), device=device)[:, None], columns] = seen.to(embedded.dtype)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
        found = generate(self.decoder, embedded, mask, ANSWER_TOKENS, end)
        return [self.writer.tokenizer.decode([t for t in answer if t != end]) for answer in found]
