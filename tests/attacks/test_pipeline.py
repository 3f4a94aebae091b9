"""A defended model as an attacker sees it: what is looked at is what the defence shows the model, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageFilter

from davsp.attacks.pipeline import MARGIN, Aim, Case, Pipeline, joint, start_of
from davsp.data.query import Query
from davsp.defences import load_defence
from davsp.defences.base import Defence, RewritingDefence
from davsp.defences.gate import Gate
from davsp.defences.gate_reading import flattened_query
from davsp.defences.prompted import PromptDefence
from davsp.defences.stored import BaseModelFacts
from davsp.defences.textual import Undefended
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.errors import InputError
from davsp.imaging.opening import open_image
from davsp.imaging.pixels import to_image
from davsp.models.base import VisionLanguageModel
from davsp.models.loading import load_model
from davsp.prompts.frame import FrameLayout
from davsp.prompts.layouts import AdditiveLayout
from davsp.prompts.visual import VisualPrompt
from davsp.training.vector import project
from tests.tiny import BUILDERS, save_tiny


def seen_by(model: VisionLanguageModel, defence: PromptDefence, image: Image.Image) -> torch.Tensor:
    return model.canvas_pixels([defence.defend(Query("q", image, "what ?"))])[0]


@pytest.mark.parametrize("size", [(112, 112), (90, 112)])
def test_the_attacker_sees_what_the_model_sees_behind_border_change_and_nothing(
    model: VisionLanguageModel, border: VisualSafetyPrompt, size: tuple[int, int]
) -> None:
    change = AdditiveLayout(*model.canvas.square, 16 / 255)
    pixels = (torch.rand(3, *change.size) - 0.5) / 8
    additive = replace(border, name="additive", visual=VisualPrompt(change, pixels))
    image = torch.rand(3, *size)
    for defence in (Undefended(), border, additive):
        pipeline = Pipeline(model, defence)
        viewed = pipeline.view(pipeline.first, image)
        assert (viewed - seen_by(model, defence, to_image(image))).abs().max() < 1e-6, defence.name
        rewritten = pipeline.first.rewrite(Query("q", b"", "what ?"))
        assert rewritten == defence.defend(Query("q", question="what ?")).question


def test_a_model_of_any_size_is_seen_through_its_frame(tmp_path: Path) -> None:
    model = load_model(str(save_tiny("qwen2_vl", tmp_path)))
    layout = FrameLayout.for_model(model, side=None, width=None, eps=0.1)
    pixels = torch.rand(3, *layout.size)
    layout.project_(pixels)
    frame = VisualSafetyPrompt("frame", VisualPrompt(layout, pixels), base_model=BaseModelFacts.of(model))
    for defence in (Undefended(), frame):
        pipeline = Pipeline(model, defence)
        start = start_of(model, Query("q", Image.new("RGB", (100, 130), "teal"), "what ?"))
        image = (start + 0.2 * torch.rand(start.shape)).clamp(0, 1)
        assert (pipeline.view(pipeline.first, image) - seen_by(model, defence, to_image(image))).abs().max() < 1e-6


def test_a_step_down_the_gradient_through_the_border_lowers_the_loss(
    model: VisionLanguageModel, border: VisualSafetyPrompt, malicious: list[Query]
) -> None:
    pipeline = Pipeline(model, border)
    images = [start_of(model, query).requires_grad_() for query in malicious]
    cases = [Case(query, model.answer_ids(query.metadata["forbidden"])[:-1]) for query in malicious]
    before = pipeline.outcome(images, cases).losses
    gradients = torch.autograd.grad(before.sum(), images)
    with torch.no_grad():
        moved = [image - 2 / 255 * gradient.sign() for image, gradient in zip(images, gradients, strict=True)]
        after = pipeline.outcome([image.clamp(0, 1) for image in moved], cases).losses
    assert after.mean() < before.mean()


def test_the_wanted_answer_counts_as_broken_where_it_is_what_the_model_says(
    model: VisionLanguageModel, malicious: list[Query]
) -> None:
    answers = model.generate(malicious, 20)
    said = [answer == query.metadata["forbidden"] for query, answer in zip(malicious, answers, strict=True)]
    cases = [Case(query, model.answer_ids(query.metadata["forbidden"])[:-1]) for query in malicious]
    with torch.no_grad():
        images = [start_of(model, query) for query in malicious]
        assert joint([Pipeline(model, Undefended())], images, cases).broken.tolist() == said
    assert any(said) and not all(said)


def test_before_a_gate_both_its_threshold_and_the_answer_are_to_be_met(
    model: VisionLanguageModel, gate: Gate, malicious: list[Query]
) -> None:
    """A threshold that no query exceeds changes nothing; one that all exceed can not be broken by the answer alone."""
    images = [start_of(model, query) for query in malicious]
    cases = [Case(query, model.answer_ids(query.metadata["forbidden"])[:-1]) for query in malicious]
    with torch.no_grad():
        plain = Pipeline(model, Undefended()).outcome(images, cases)
        for threshold, open_to_all in ((1e3, True), (-1e3, False)):
            closed = Gate(gate.facts.model_copy(update={"threshold": threshold}), gate.watch.probe)
            found = Pipeline(model, closed).outcome(images, cases)
            assert found.broken.tolist() == (plain.broken.tolist() if open_to_all else [False] * len(cases))
            if not open_to_all:
                assert (found.losses > plain.losses + MARGIN).all()
                behind = Pipeline(model, closed.before(Undefended())).outcome(images, cases)
                assert torch.allclose(behind.losses, plain.losses, atol=1e-4)
                assert behind.broken.tolist() == plain.broken.tolist()
                facts = closed.facts.model_copy(update={"refusal_threshold": threshold})
                refusing = Pipeline(model, Gate(facts, gate.watch.probe, inner=Undefended())).outcome(images, cases)
                assert not refusing.broken.any() and (refusing.losses > plain.losses + MARGIN).all()


def test_a_gate_that_flattens_is_seen_through_its_flattening(
    model: VisionLanguageModel, gate: Gate, border: VisualSafetyPrompt, malicious: list[Query]
) -> None:
    """What it reads and what stands behind it are of the flattened image, what it lets pass is of the image itself."""
    facts = gate.facts.model_copy(update={"flatten": 24})
    flattening = Gate(facts, gate.watch.probe, inner=border).on_canvas(model.canvas)
    pipeline = Pipeline(model, flattening)
    first, read, behind = pipeline.stages
    start = start_of(model, malicious[0])
    image = (start + 8 / 255 * (2 * torch.rand(start.shape) - 1)).clamp(0, 1)
    query = malicious[0].with_image(to_image(image))
    flat = flattened_query(query, 24, model.canvas)
    views = [pipeline.view(stage, image) for stage in (first, read, behind)]
    for view, shown in zip(views, (query, flat, border.defend(flat)), strict=True):
        assert (view - model.canvas_pixels([shown])[0]).abs().max() < 1e-6
    cases = [Case(query, model.answer_ids("no")[:-1])]
    with torch.no_grad():
        [projection] = project(model, [flat], gate.watch.probe)
        for threshold in (projection - 1, projection + 1):
            moved = Gate(facts.model_copy(update={"threshold": float(threshold)}), gate.watch.probe)
            found = Pipeline(model, moved).outcome([image], cases, Aim.PROJECTION).losses
            assert (found > 0).item() == (projection > threshold).item()


def test_an_aim_at_the_projection_falls_with_it(model: VisionLanguageModel, gate: Gate, malicious: list[Query]) -> None:
    images = [start_of(model, query) for query in malicious]
    cases = [Case(query, model.answer_ids("sure")[:-1]) for query in malicious]
    pipeline = Pipeline(model, gate)
    with torch.no_grad():
        first = pipeline.outcome(images, cases, Aim.PROJECTION).losses
        projections = pipeline._pass(pipeline.first, images, cases).projection
    assert torch.allclose(first, torch.relu(projections / pipeline.scale + MARGIN), atol=1e-5)


@pytest.mark.parametrize("family", sorted(BUILDERS))
def test_every_family_is_seen_as_it_sees(family: str, tmp_path: Path) -> None:
    model = load_model(str(save_tiny(family, tmp_path)))
    pipeline = Pipeline(model, Undefended())
    image = torch.rand(start_of(model, Query("q", Image.new("RGB", (70, 50), "teal"), "what ?")).shape)
    viewed = pipeline.view(pipeline.first, image)
    assert (viewed - seen_by(model, Undefended(), to_image(image))).abs().max() < 1e-6


class Blurring(RewritingDefence):
    """Changes images in a way that no pipeline knows."""

    name = kind = identity = "blurring"

    def defend(self, query: Query) -> Query:
        return query.with_image(open_image(query.image).filter(ImageFilter.GaussianBlur(3)))


def test_a_defence_that_changes_images_in_its_own_way_cannot_be_seen_through(
    model: VisionLanguageModel, malicious: list[Query]
) -> None:
    stage = Pipeline(model, Blurring()).first
    with pytest.raises(InputError, match="blurring changes images in a way that has no gradient"):
        stage.rewrite(malicious[0])


def test_a_defence_of_texts_is_seen_through(model: VisionLanguageModel, malicious: list[Query]) -> None:
    shield = load_defence("adashield-s")
    assert isinstance(shield, RewritingDefence)
    assert Pipeline(model, shield).first.rewrite(malicious[0]) == shield.defend(malicious[0]).question


@pytest.mark.parametrize("name", ["ecso", "transcribe"])
def test_a_defence_that_asks_several_times_cannot_be_seen_through(model: VisionLanguageModel, name: str) -> None:
    defence: Defence = load_defence(name)
    with pytest.raises(InputError, match="no gradient: attack `none`"):
        Pipeline(model, defence)
