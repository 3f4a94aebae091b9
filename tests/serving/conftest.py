"""A prompt to put requests behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from davsp.defences.stored import BaseModelFacts
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.models.base import VisionLanguageModel
from davsp.prompts.layouts import BorderLayout
from davsp.prompts.visual import VisualPrompt
from tests.serving.processes import PREFIX


@pytest.fixture(scope="session")
def prompt(model: VisionLanguageModel) -> VisualSafetyPrompt:
    """A border of noise for the testbed's model; saved in `folder(prompt)`."""
    layout = BorderLayout(112, 112, border=14)
    pixels = torch.rand(3, *layout.size, generator=torch.manual_seed(0))
    layout.project_(pixels)
    return VisualSafetyPrompt("mine", VisualPrompt(layout, pixels), PREFIX, base_model=BaseModelFacts.of(model))


@pytest.fixture(scope="session")
def folder(prompt: VisualSafetyPrompt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompt")
    prompt.save(path)
    return path
