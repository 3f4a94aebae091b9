"""Attacks on the question: a text after it that lowers the loss, by the gradient or at random; and one change of all
images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from davsp.attacks.base import Knowledge
from davsp.attacks.gcg import Gcg, GcgOptions
from davsp.attacks.pipeline import Pipeline, joint, start_of
from davsp.attacks.random_search import RandomSearch
from davsp.attacks.suffix import SuffixAttack, SuffixOptions
from davsp.attacks.universal import Universal, UniversalOptions, changed
from davsp.attacks.wanted import cases_of
from davsp.data.query import Query
from davsp.defences.textual import SafetyPrefix
from davsp.imaging.opening import open_image
from davsp.imaging.pixels import stack
from davsp.judges.refusal import is_refusal
from davsp.models.base import VisionLanguageModel

FEW = {"length": 4, "steps": 8, "candidates": 24}


def losses(model: VisionLanguageModel, known: Knowledge, queries: list[Query]) -> torch.Tensor:
    with torch.no_grad():
        cases = cases_of(model, queries, SuffixOptions())
        return joint(known.pipelines, [start_of(model, query) for query in queries], cases).losses


@pytest.mark.parametrize(("kind", "options"), [(Gcg, GcgOptions), (RandomSearch, SuffixOptions)])
def test_a_text_after_the_question_lowers_the_loss_behind_the_prefix(
    model: VisionLanguageModel, malicious: list[Query], kind: type[SuffixAttack], options: type[SuffixOptions]
) -> None:
    known = Knowledge(model, (Pipeline(model, SafetyPrefix()),))
    refused = [is_refusal(answer) for answer in model.generate(malicious, 20)]
    query = malicious[refused.index(True)]
    attack = kind(options.model_validate(FEW), known, 0)
    (found,) = attack.attack([query])
    (made,) = found.queries
    assert made.question.startswith(f"{query.question} ") and made.with_question(query.question) == query
    assert losses(model, known, [made])[0] < losses(model, known, [query])[0]
    assert 0 < found.steps <= 8 and found.calls > 24
    assert attack.attack([query]) == [found]


def test_a_query_that_is_answered_as_it_is_stays_as_it_is(model: VisionLanguageModel, malicious: list[Query]) -> None:
    from davsp.defences.textual import Undefended

    answered = [
        q for q, a in zip(malicious, model.generate(malicious, 20), strict=True) if q.metadata["forbidden"] == a
    ]
    attack = RandomSearch(SuffixOptions(), Knowledge(model, (Pipeline(model, Undefended()),)), 0)
    (found,) = attack.attack(answered[:1])
    assert found.queries == (answered[0],) and found.broken_at == 0


def test_one_change_within_the_bound_lowers_the_loss_of_all_images(
    model: VisionLanguageModel, malicious: list[Query], tmp_path: Path
) -> None:
    known = Knowledge(model, (Pipeline(model, SafetyPrefix()),))
    attack = Universal(UniversalOptions(eps=8, steps=8, batch_size=6), known, 0)
    attack.prepare(malicious, tmp_path, quiet=True)
    made = [query for each in attack.attack(malicious) for query in each.queries]
    assert losses(model, known, made).mean() < losses(model, known, malicious).mean()
    for query, one in zip(malicious, made, strict=True):
        start, end = start_of(model, query), stack([open_image(one.image)])[0]
        assert (start - end).abs().max() <= 8 / 255 + 1e-6
        assert torch.allclose(changed(start, attack.change), end, atol=0.5 / 255 + 1e-6)
    again = Universal(UniversalOptions(eps=8, steps=8, batch_size=6), known, 0)
    again.prepare(malicious, tmp_path, quiet=True)
    assert torch.equal(again.change, attack.change), "the saved state is gone on with"


def test_the_change_is_stretched_to_images_of_other_sizes() -> None:
    assert changed(torch.full((3, 40, 60), 0.5), torch.full((3, 20, 20), 0.1)).unique().tolist() == [pytest.approx(0.6)]
