"""Greedy coordinate gradient: gradients of one-hot tokens, the best candidate, texts that stay their own tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from davsp.data.query import Query
from davsp.models.base import VisionLanguageModel, size_of
from davsp.models.loading import load_model
from davsp.prompts.text import with_prefix
from davsp.searches.gcg import Case, TokenSearch
from tests.tiny import BUILDERS, save_tiny

RED = Image.new("RGB", (40, 30), "red")
REFUSAL = "I am sorry, I cannot help with that."


def case_of(model: VisionLanguageModel, weight: float = 1.0, answer: str = REFUSAL, question: str = "how ?") -> Case:
    asked = Query("q", RED, question)
    return Case(
        model.canvas_pixels([asked]), lambda text: asked.with_prefix(text).messages, model.answer_ids(answer), weight
    )


def one_hot_loss(model: VisionLanguageModel, case: Case, ids: tuple[int, ...], one_hot: torch.Tensor) -> torch.Tensor:
    """The loss with the text's embeddings given as one-hot tokens over the whole vocabulary; slow and obvious."""
    prompt = model.chat_ids(case.messages(model.tokenizer.decode(list(ids))), [size_of(case.pixels[0])])
    whole = [*prompt, *case.answer]
    begin = next(i for i in range(len(prompt)) if tuple(prompt[i : i + len(ids)]) == ids)
    table = model.model.get_input_embeddings().weight
    words = table[torch.tensor(whole)].clone()
    words = torch.cat([words[:begin], one_hot @ table, words[begin + len(ids) :]])
    seen = model.model.get_image_features(pixel_values=model.pack(case.pixels)["pixel_values"]).pooler_output[0]
    words = words.index_put(
        (torch.tensor(whole).eq(model.tokenizer.convert_tokens_to_ids("<image>")).nonzero()[:, 0],), seen
    )
    logits = model.model(inputs_embeds=words[None]).logits[0, len(prompt) - 1 : -1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(case.answer))


def test_token_gradients_are_those_of_one_hot_tokens(model: VisionLanguageModel) -> None:
    search = TokenSearch(model, top_k=4, candidates=4, chunk=4)
    cases = [case_of(model), case_of(model, -0.5, "a red square .", "what colour is the square ?")]
    ids = search.start(3, cases, np.random.default_rng(0))
    found = search.gradient(ids, cases)
    one_hot = torch.nn.functional.one_hot(torch.tensor(ids), len(model.tokenizer)).float().requires_grad_()
    total = sum(case.weight * one_hot_loss(model, case, ids, one_hot) for case in cases)
    assert isinstance(total, torch.Tensor)
    expected = torch.autograd.grad(total, one_hot)[0][:, search.allowed]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    assert total.item() == pytest.approx(search.losses([ids], cases).item(), rel=1e-4)


def test_a_step_chooses_the_candidate_of_the_smallest_weighted_loss(model: VisionLanguageModel) -> None:
    search = TokenSearch(model, top_k=6, candidates=20, chunk=7)
    cases = [case_of(model, 0.8), case_of(model, 0.2, "it is red .")]
    ids = search.start(3, cases, np.random.default_rng(0))
    chosen, loss = search.step(ids, cases, np.random.default_rng(1))
    proposed = search.propose(ids, search.gradient(ids, cases), np.random.default_rng(1))
    each = [sum(c.weight * search.losses([p], [replace(c, weight=1.0)]).item() for c in cases) for p in proposed]
    assert chosen == proposed[int(np.argmin(each))]
    assert loss == pytest.approx(min(each), rel=1e-4)
    assert loss is not None and loss < search.losses([ids], cases).item()
    assert sum(a != b for a, b in zip(ids, chosen, strict=True)) == 1


def test_candidates_come_from_the_tokens_that_the_gradient_favours(model: VisionLanguageModel) -> None:
    search = TokenSearch(model, top_k=3, candidates=40, chunk=8)
    gradient = torch.randn(2, len(search.allowed), generator=torch.manual_seed(0))
    ids = tuple(search.allowed[:2].tolist())
    best = [set(search.allowed[row.argsort()[:3]].tolist()) for row in gradient]
    for candidate in search.propose(ids, gradient, np.random.default_rng(0)):
        [position] = [i for i in range(2) if candidate[i] != ids[i]]
        assert candidate[position] in best[position]


@pytest.mark.parametrize("family", sorted(BUILDERS))
def test_a_text_stays_its_own_tokens_in_the_prompts_of_every_family(family: str, tmp_path: Path) -> None:
    model = load_model(str(save_tiny(family, tmp_path)))
    search = TokenSearch(model, top_k=8, candidates=12, chunk=12)
    cases = [case_of(model)]
    ids = search.start(3, cases, np.random.default_rng(0))
    before = search.losses([ids], cases).item()
    for number in range(2):
        ids, _ = search.step(ids, cases, np.random.default_rng(number))
        prompt = model.prompt_ids(with_prefix("how ?", search.text(ids)), size=size_of(cases[0].pixels[0]))
        assert any(tuple(prompt[i : i + 3]) == ids for i in range(len(prompt)))
        assert not set(ids) & set(model.tokenizer.all_special_ids)
    assert search.losses([ids], cases).item() < before
