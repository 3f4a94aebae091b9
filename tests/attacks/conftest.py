"""Defences that need no training, and the queries that are attacked."""

from __future__ import annotations

import pytest
import torch

from davsp.data.query import Query
from davsp.defences.gate import Gate
from davsp.defences.gate_facts import GateFacts
from davsp.defences.stored import BaseModelFacts
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.models.base import VisionLanguageModel
from davsp.models.probe import Probe
from davsp.prompts.layouts import BorderLayout
from davsp.prompts.visual import VisualPrompt
from davsp.testbed.queries import Kind, draw_queries
from davsp.testbed.world import Split


@pytest.fixture(scope="session")
def malicious(model: VisionLanguageModel) -> list[Query]:
    """Six malicious queries in images, of which the undefended testbed refuses some."""
    drawn = draw_queries(Split.TEST, 3, 0, [Kind.SD, Kind.TYPO], side=224)
    return [query for query in drawn if query.malicious]


@pytest.fixture(scope="session")
def border(model: VisionLanguageModel) -> VisualSafetyPrompt:
    """A random border with a prefix, and a random direction at layer 4."""
    layout = BorderLayout(*model.canvas.square, 14)
    pixels = torch.rand(3, *layout.size, generator=torch.Generator().manual_seed(0))
    layout.project_(pixels)
    return VisualSafetyPrompt(
        "border", VisualPrompt(layout, pixels), "be careful .", base_model=BaseModelFacts.of(model)
    )


@pytest.fixture(scope="session")
def gate(model: VisionLanguageModel) -> Gate:
    """A gate without anything behind it, along a random direction."""
    directions = torch.nn.functional.normalize(
        torch.randn(2, model.hidden_size, generator=torch.Generator().manual_seed(1)), dim=-1
    )
    facts = GateFacts(
        kind="gate",
        name="gate",
        base_model=BaseModelFacts.of(model),
        config={},
        data={},
        metrics={},
        versions={},
        layers=(3, 4),
        kinds=[],
        familiar=0.0,
        threshold=0.0,
        flagged={},
        caught={},
        curve={},
    )
    return Gate(facts, Probe(facts.layers, directions))
