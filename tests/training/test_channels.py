"""Channels that images go through while a prompt is trained: what comes out is what a file gives, gradients pass."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from PIL import Image

from davsp.data.conversation import Message
from davsp.data.query import Query
from davsp.imaging.pixels import Pixels, stack, to_image
from davsp.models.base import VisionLanguageModel
from davsp.training.channels import CHANNELS, cropped, filed, there_and_back, through_channels
from davsp.training.config import TrainConfig
from davsp.training.objective import Objective, plan
from davsp.training.vector import HarmfulnessVector


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_a_file_gives_what_pillow_reads_of_it_and_the_gradient_of_what_goes_in(form: str) -> None:
    pixels = torch.rand(3, 24, 32, requires_grad=True)
    stream = io.BytesIO()
    to_image(pixels).save(stream, form, quality=50)
    out = filed(pixels, form, 50)
    assert torch.allclose(out, stack([Image.open(stream).convert("RGB")])[0], atol=1e-6)
    assert torch.equal(torch.autograd.grad(out.sum(), pixels)[0], torch.ones_like(pixels))


def test_halving_and_cropping_keep_the_size_and_lose_detail() -> None:
    pixels = torch.rand(3, 32, 48, requires_grad=True)
    for out in (there_and_back(pixels, 0.5), cropped(pixels, 0, 1, 2, 2)):
        assert out.shape == pixels.shape and not torch.allclose(out, pixels, atol=0.05)
        assert torch.autograd.grad(out.sum(), pixels)[0].abs().sum() > 0
    assert there_and_back(pixels, 0.5).std() < pixels.std()


def test_each_image_has_a_channel_of_its_own_drawn_by_its_seed() -> None:
    pixels = torch.rand(1, 3, 28, 28).expand(40, -1, -1, -1)
    seeds = [(0, index) for index in range(40)]
    sent = through_channels(pixels, 0.5, seeds)
    assert isinstance(sent, torch.Tensor) and sent.shape == pixels.shape
    untouched = [torch.equal(one, other) for one, other in zip(sent, pixels, strict=True)]
    assert 8 < sum(untouched) < 32
    assert torch.equal(torch.stack(list(through_channels(list(pixels), 0.5, seeds))), sent)
    assert torch.equal(torch.stack(list(through_channels(pixels[:3], 0.5, seeds[:3]))), sent[:3])
    assert torch.equal(torch.stack(list(through_channels(pixels, 0.0, seeds))), pixels)
    assert len({one.numpy().tobytes() for one in sent}) > len(CHANNELS)


def test_a_step_with_augment_has_channels_of_its_own(
    model: VisionLanguageModel, vector: HarmfulnessVector, queries: tuple[list[Query], list[Query]]
) -> None:
    config = TrainConfig.model_validate({"prefix": "be careful .", "augment": 1.0})
    filled = plan(model, vector, config)
    objective = Objective(model, filled, vector.direction(filled.layer), *queries)
    prompt = torch.rand(3, *filled.layout.size)
    losses = [objective.loss(prompt, False, [0, 1], True, number)[0].item() for number in (0, 0, 1)]
    plain = replace(objective, plan=replace(filled, config=config.model_copy(update={"augment": 0.0})))
    assert losses[0] == losses[1] != losses[2]
    assert plain.loss(prompt, False, [0, 1], True)[0].item() not in losses


def test_every_image_of_a_query_has_a_channel_of_its_own(
    model: VisionLanguageModel,
    vector: HarmfulnessVector,
    queries: tuple[list[Query], list[Query]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training, validation = queries
    one = next(query for query in training if not query.malicious)
    pair = Query("pair", messages=[Message("user", (one.image, one.question, one.image))], answer=one.answer)
    filled = plan(model, vector, TrainConfig.model_validate({"prefix": "be careful .", "augment": 1.0}))
    objective = Objective(model, filled, vector.direction(filled.layer), [pair, *training], validation)
    drawn: list[tuple[int, ...]] = []

    def noted(pixels: Pixels, share: float, seeds: Sequence[tuple[int, ...]]) -> Pixels:
        drawn.extend(seeds)
        return through_channels(pixels, share, seeds)

    monkeypatch.setattr("davsp.training.objective.through_channels", noted)
    prompt = torch.rand(3, *filled.layout.size)
    assert objective.loss(prompt, False, [1, 0], True, number=7)[0].isfinite()
    assert drawn == [(0, 3, 7, False, place) for place in (2, 0, 1)]
