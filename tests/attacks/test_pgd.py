"""PGD on the image: it breaks what the model refuses, stays within its bound in the file, and knows what it is told."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from davsp.attacks.base import Attacked, Knowledge
from davsp.attacks.pgd import Pgd, PgdOptions
from davsp.attacks.pipeline import Pipeline, joint, start_of
from davsp.attacks.wanted import cases_of
from davsp.data.conversation import one_turn
from davsp.data.query import Query
from davsp.defences.base import Defence
from davsp.defences.textual import Undefended
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.errors import InputError
from davsp.imaging.opening import open_image
from davsp.imaging.pixels import stack
from davsp.judges.refusal import is_refusal
from davsp.models.base import VisionLanguageModel


def pgd(model: VisionLanguageModel, *against: Defence, seed: int = 0, **options: object) -> Pgd:
    known = Knowledge(model, tuple(Pipeline(model, defence) for defence in against or [Undefended()]))
    return Pgd(PgdOptions.model_validate({"steps": 6, **options}), known, seed)


def made(attacked: list[Attacked]) -> list[Query]:
    return [query for each in attacked for query in each.queries]


def test_what_is_refused_is_answered_from_the_file_within_the_bound(
    model: VisionLanguageModel, malicious: list[Query]
) -> None:
    attacked = pgd(model, eps=16).attack(malicious)
    refused = sum(map(is_refusal, model.generate(malicious, 20)))
    answers = model.generate(made(attacked), 20)
    assert sum(map(is_refusal, answers)) < refused
    for query, each, answer in zip(malicious, attacked, answers, strict=True):
        (rewritten,) = each.queries
        start, end = start_of(model, query), stack([open_image(rewritten.image)])[0]
        assert (start - end).abs().max() <= 16 / 255 + 1e-6
        assert rewritten.saying(query.messages) == query
        if each.broken_at is not None:
            assert answer == query.metadata["forbidden"]
            assert each.steps == each.broken_at and each.calls == each.steps + 1
        else:
            assert each.steps == 6


def test_an_image_depends_on_seed_and_query_and_not_on_the_batch(
    model: VisionLanguageModel, malicious: list[Query]
) -> None:
    stubborn = [q for q, a in zip(malicious, model.generate(malicious, 20), strict=True) if is_refusal(a)][:2]
    options = {"eps": 2, "steps": 1, "restarts": 2}
    together = made(pgd(model, **options).attack(stubborn))
    alone = [made(pgd(model, **options).attack([query]))[0] for query in stubborn]
    assert [q.image for q in together] == [q.image for q in alone]
    assert [q.image for q in made(pgd(model, seed=1, **options).attack(stubborn))] != [q.image for q in together]


def test_who_knows_the_border_lowers_its_loss_further(
    model: VisionLanguageModel, border: VisualSafetyPrompt, malicious: list[Query]
) -> None:
    sets = [made(attack.attack(malicious)) for attack in (pgd(model, border, eps=8), pgd(model, eps=8))]
    with torch.no_grad():
        knowing, unknowing = (
            joint(
                [Pipeline(model, border)],
                [start_of(model, query) for query in queries],
                cases_of(model, queries, PgdOptions()),
            ).losses
            for queries in sets
        )
    assert knowing.mean() < unknowing.mean()


def test_a_query_that_gave_in_early_is_pushed_further_where_that_is_wanted(
    model: VisionLanguageModel, malicious: list[Query]
) -> None:
    early, late = (pgd(model, eps=8, until_broken=until).attack(malicious) for until in (True, False))
    assert [each.broken_at for each in early] == [each.broken_at for each in late]
    assert {each.steps for each in late} == {6} and sum(each.calls for each in early) < sum(e.calls for e in late)
    with torch.no_grad():
        before, after = (
            joint(
                [Pipeline(model, Undefended())],
                [start_of(model, query) for query in made(each)],
                cases_of(model, malicious, PgdOptions()),
            )
            for each in (early, late)
        )
    assert after.losses.mean() < before.losses.mean()
    assert after.broken[before.broken].all()


def test_a_query_without_image_is_told(model: VisionLanguageModel, malicious: list[Query]) -> None:
    text_alone = malicious[0].saying(one_turn("what ?"))
    with pytest.raises(InputError, match="is no question after an image"):
        pgd(model).attack([text_alone])


def test_a_projection_without_a_direction_is_told(model: VisionLanguageModel) -> None:
    with pytest.raises(InputError, match="none has no direction"):
        pgd(model, aim="projection")


def test_it_needs_a_loaded_model() -> None:
    with pytest.raises(InputError, match="needs a loaded model"):
        Pgd(PgdOptions(), Knowledge(), 0)


def test_of_a_query_that_the_model_answers_its_own_answer_is_wanted(model: VisionLanguageModel) -> None:
    query = Query("q", Image.new("RGB", (112, 112), "white"), "how many shapes are in the picture ?", malicious=True)
    ((_, wanted),) = cases_of(model, [query], PgdOptions())
    answer = model.generate([query], 16)[0]
    assert model.tokenizer.decode(wanted, skip_special_tokens=True).strip() == answer
