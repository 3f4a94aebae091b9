"""The method at the official code's cost, written from its description: the same mathematics, slowly.

One sample at a time; every decoder layer is run and every hidden state kept; right padding to MAX_LEN tokens without a
mask; a second forward pass for the answer; the image decoded and resampled at every step; one query answered at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from tests.reference.deep_alignment import Method, alignment, canvas
from torch import Tensor

from davsp.data.query import Query
from davsp.imaging.opening import open_image
from davsp.imaging.pixels import stack
from davsp.models.base import VisionLanguageModel
from davsp.prompts.layouts import BorderLayout
from davsp.training.objective import Objective

MAX_LEN = 1024


@dataclass
class ReferenceLoop:
    """The formulas (`method`), and how the official code goes about them."""

    vlm: VisionLanguageModel
    layout: BorderLayout
    method: Method
    prefix: str

    @classmethod
    def of(cls, objective: Objective) -> Self:
        """What an objective on a square canvas asks for, in this loop, which normalises pixels by itself."""
        plan, vlm = objective.plan, objective.model
        layout = BorderLayout.for_model(vlm, side=plan.config.side, width=plan.config.width, eps=plan.config.eps)
        assert layout == plan.layout
        method = Method(
            vlm.model,
            torch.zeros(3, 1, 1),
            torch.ones(3, 1, 1),
            layout.border,
            plan.layer,
            objective.direction,
            plan.tau_plus,
            plan.tau_minus,
            plan.config.answer_weight,
        )
        return cls(vlm, layout, method, plan.config.prefix)

    def forward(self, pixels: Tensor, tokens: Sequence[int]) -> tuple[tuple[Tensor, ...], Tensor]:
        """All hidden states and all scores of one image (3, H, W) and its padded prompt."""
        pad = int(self.vlm.tokenizer.pad_token_id or 0)
        ids = torch.tensor([[*tokens, *[pad] * (MAX_LEN - len(tokens))]], device=self.vlm.device)
        out = self.vlm.model(
            pixel_values=self.vlm.normalise(pixels)[None], input_ids=ids, output_hidden_states=True, use_cache=False
        )
        return out.hidden_states, out.logits

    def loss(self, prompt: Tensor, query: Query, answer: str, answered: bool) -> Tensor:
        """Of one sample (scalar); its answer counts if `answered`."""
        method = self.method
        inside = stack([self.layout.interior(open_image(query.image))])[0].to(prompt.device)
        seen = canvas(prompt, inside, self.layout.border)
        asked = self.vlm.prompt_ids(query.question, self.prefix)
        states, _ = self.forward(seen, asked)
        projection = (states[method.layer][0, len(asked) - 1].float() * method.direction).sum()
        total = alignment(projection, query.malicious, method.tau_plus, method.tau_minus)
        if answered:
            said = self.vlm.answer_ids(answer)
            _, logits = self.forward(seen, [*asked, *said])
            scores = logits[0, len(asked) - 1 : len(asked) - 1 + len(said)].float().log_softmax(-1)
            each = [-scores[i, token] for i, token in enumerate(said)]
            total = total + method.answer_weight * torch.stack(each).mean()
        return total

    @torch.no_grad()
    def harmfulness_vector(self, queries: Sequence[Query]) -> Tensor:
        """The unit difference of the class means at every layer, float32 (layers, hidden)."""
        found: dict[bool, list[Tensor]] = {False: [], True: []}
        for query in queries:
            pixels = self.vlm.canvas_pixels([query])[0].to(self.vlm.device)
            asked = self.vlm.prompt_ids(query.question, self.prefix)
            states, _ = self.forward(pixels, asked)
            found[query.malicious].append(torch.stack([s[0, len(asked) - 1].float() for s in states[1:]]))
        difference = torch.stack(found[True]).mean(0) - torch.stack(found[False]).mean(0)
        return torch.nn.functional.normalize(difference, dim=-1)

    def answers(self, queries: Sequence[Query], max_new_tokens: int) -> list[str]:
        """Greedy answers, one query at a time."""
        return [self.vlm.generate([query], max_new_tokens)[0] for query in queries]
