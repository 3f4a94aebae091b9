"""A bounded change of images moves the corpus the way it is to, on every family of models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from davsp.models.base import VisionLanguageModel
from davsp.models.loading import load_model
from davsp.searches.signed_steps import ChangeFitting, ChangeOptions
from davsp.testbed.corpora import forbidden_answers
from tests.tiny import BUILDERS, save_tiny


def changes(model: VisionLanguageModel, raising: bool, **options: object) -> ChangeFitting:
    quick = {"steps": 8, "step_size": 4 / 255, "batch_size": 4}
    images = [Image.new("RGB", (60, 60), colour) for colour in ("white", "navy", "grey")]
    return ChangeFitting(
        model, ChangeOptions.model_validate(quick | options), forbidden_answers()[:6], images, raising=raising
    )


@torch.no_grad()
def corpus_loss(fitted: ChangeFitting) -> float:
    sentences, images = [i for i in range(6) for _ in range(3)], [0, 1, 2] * 6
    return fitted.loss(fitted.change, sentences, images).item()


@pytest.mark.parametrize("raising", [True, False])
def test_a_change_moves_the_corpus_loss_the_way_it_is_to(model: VisionLanguageModel, raising: bool) -> None:
    fitted = changes(model, raising)
    before = corpus_loss(fitted)
    for number in range(8):
        fitted.step(number)
    moved = corpus_loss(fitted) - before
    assert moved > 0.3 if raising else moved < -0.3


def test_a_change_stays_within_its_bound_and_images_within_valid_pixels(model: VisionLanguageModel) -> None:
    fitted = changes(model, True, eps=10 / 255)
    for number in range(4):
        fitted.step(number)
    assert fitted.change.abs().max().item() == pytest.approx(10 / 255)
    white = torch.ones(1, 3, *fitted.layout.size)
    for inside in (white, white * 0):
        seen = fitted.layout.compose(fitted.change, inside)
        assert seen.min() >= 0 and seen.max() <= 1


def test_the_corpus_loss_is_the_models_own_after_an_empty_prompt(model: VisionLanguageModel) -> None:
    fitted = changes(model, True)
    inside = fitted.images[1].float()[None] / 255
    prompt, sentence = model.prompt_ids(""), fitted.sentences[2]
    labels = torch.tensor([[-100] * len(prompt) + sentence])
    own = model.model(
        input_ids=torch.tensor([prompt + sentence]), pixel_values=model.pack(inside)["pixel_values"], labels=labels
    ).loss
    assert fitted.loss(fitted.change, [2], [1]).item() == pytest.approx(own.item(), rel=1e-4)


def test_a_step_is_the_signed_gradient(model: VisionLanguageModel) -> None:
    fitted = changes(model, False, step_size=1 / 255)
    change = fitted.change.clone().requires_grad_()
    order = [o.take(0, 4) for o in fitted.orders]
    gradient = torch.autograd.grad(fitted.loss(change, *order), change)[0]
    fitted.step(0)
    torch.testing.assert_close(fitted.change, -gradient.sign() / 255)


@pytest.mark.parametrize("family", sorted(BUILDERS))
def test_a_change_is_fitted_to_every_family(family: str, tmp_path: Path) -> None:
    model = load_model(str(save_tiny(family, tmp_path)))
    sentences = ["sure , to make the cake first stir then bake ."]
    options = ChangeOptions(steps=6, step_size=8 / 255, side=56)
    fitted = ChangeFitting(model, options, sentences, [Image.new("RGB", (60, 60), "grey")], raising=False)
    with torch.no_grad():
        before = fitted.loss(fitted.change, [0], [0]).item()
    for number in range(6):
        fitted.step(number)
    with torch.no_grad():
        assert fitted.loss(fitted.change, [0], [0]).item() < before
