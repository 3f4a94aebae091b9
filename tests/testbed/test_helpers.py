"""The testbed's stand-ins for CLIP, for a reward model and for a defender."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from davsp.defences import load_defence
from davsp.defences.adashield_refinement import prompt_function, read_proposal
from davsp.defences.eta import Eta
from davsp.testbed.helpers import looks_unsafe, train_helpers
from davsp.testbed.queries import Kind, ask_about
from davsp.testbed.world import Activity, Harm

RED = Image.new("RGB", (40, 30), "red")


def test_the_testbeds_defender_proposes_one_instruction_after_the_other() -> None:
    pytest.importorskip("inspect_ai")
    from davsp.testbed.defender import INSTRUCTIONS

    ask = prompt_function("davsp-testbed/defender")
    found = [read_proposal(ask("The instruction so far: be careful ."))]
    for _ in range(2):
        found.append(read_proposal(ask(f"The instruction so far: {found[-1]}")))
    assert found == list(INSTRUCTIONS[:3])


@pytest.mark.parametrize(
    ("verb", "thing", "kind", "unsafe"),
    [
        ("draw", "bomb", Kind.SD, True),  # harmless, but who sees the image alone cannot know
        ("rob", "bank", Kind.SD, False),  # harmful, but the image shows a bank
        ("rob", "bank", Kind.TYPO, True),
        ("make", "cake", Kind.SD_TYPO, False),
        ("make", "bomb", Kind.TEXT, False),
    ],
)
def test_the_testbeds_clip_learns_what_images_show(verb: str, thing: str, kind: Kind, unsafe: bool) -> None:
    query = ask_about(Activity(verb, thing), kind, Harm.MALICIOUS, np.random.default_rng(0))
    assert looks_unsafe(query) is unsafe


def test_the_testbeds_helpers_are_models_that_baselines_can_load(tmp_path: Path) -> None:
    report = train_helpers(tmp_path, 0, clip_steps=2, reward_steps=2, quiet=True)
    for name in ("clip", "reward"):
        assert report[name]["n"] > 100 and 0 < report[name]["auroc"] <= 1
    found = load_defence(f"eta:reward={tmp_path / 'reward'},clip={tmp_path / 'clip'}")
    assert isinstance(found, Eta)
    assert found.clip.similarity(RED, "unsafe contents") != found.clip.similarity(RED, "safe contents")
