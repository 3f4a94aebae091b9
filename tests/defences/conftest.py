"""Small stand-ins for the models that help defences, saved as real ones are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.defences.guards import save_guard
from tests.tiny import save_tiny_clip, save_tiny_reward


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def reward_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_reward(tmp_path_factory.mktemp("reward"))


@pytest.fixture(scope="session")
def guard_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama Guard that finds the red image unsafe and the blue one safe."""
    return save_guard("mllama", tmp_path_factory.mktemp("guards") / "tiny-guard", ("unsafe\nS2", "safe"))
