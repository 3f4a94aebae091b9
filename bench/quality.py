"""How long training takes to be as good as the paper's recipe is at its end, on the testbed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench.measuring import PAIRS, Row, spread
from bench.reference_loop import ReferenceLoop
from bench.subjects import in_files
from davsp.data.query import Query
from davsp.models.base import VisionLanguageModel
from davsp.models.loading import load_model
from davsp.prompts.text import SAFETY_PREFIX
from davsp.testbed.queries import border_queries
from davsp.training.config import PAPER, TrainConfig
from davsp.training.objective import Objective, plan
from davsp.training.trainer import Trainer
from davsp.training.vector import HarmfulnessVector, extract_vector

EVERY = 5
"""Steps between two looks at the quality of ours."""
REFERENCE_STEPS = 8
"""Steps of the reference loop that are measured; a whole run of it would take an hour."""
CLAMPED = {**PAPER, "clamp": True}
"""The paper's recipe, but of borders that are images, as all that are measured here."""


def rows(size: str) -> list[Row]:
    """Quality is RSR plus benign answers kept, on the validation queries; the time of looking at it does not count.

    The reference is the paper's recipe in the reference loop, by the mean of a few of its steps; the floor is the
    same recipe in our code: what is left there is the recipe's own merit.
    """
    model = load_model(size)
    by_loop, by_recipe, notes = [], [], []
    for seed in range(PAIRS):
        training, validation = border_queries(seed=seed)
        vector = extract_vector(model, training, validation, prefix=SAFETY_PREFIX)
        paper = _trainer(model, vector, training, validation, TrainConfig.model_validate({**CLAMPED, "seed": seed}))
        ours = _trainer(model, vector, training, validation, TrainConfig(seed=seed))
        loop = _seconds_of_reference(paper) * paper.config.steps
        fast = _run(paper, range(paper.steps))
        reached = paper.validation_record()["quality"]
        taken, quality, steps = _run_until(ours, reached)
        by_loop.append(taken / loop)
        by_recipe.append(taken / fast)
        notes.append(f"{quality:.2f} after {steps} steps v {reached:.2f}")
    return [
        {
            "name": "time to the quality of the paper's recipe at its end (share; less is better)",
            "size": size,
            "vs_reference": spread(by_loop, 0.15),
            "vs_floor": spread(by_recipe),
            "n": PAIRS,
            "note": "the floor is the paper's recipe in our code; RSR + benign kept, of 2: " + "; ".join(notes),
        }
    ]


def _trainer(
    model: VisionLanguageModel,
    vector: HarmfulnessVector,
    training: Sequence[Query],
    validation: Sequence[Query],
    config: TrainConfig,
) -> Trainer:
    filled = plan(model, vector, config)
    objective = Objective(model, filled, vector.direction(filled.layer), training, validation)
    return Trainer([objective])


def _run(trainer: Trainer, steps: range) -> float:
    """Seconds of these steps."""
    begun = time.perf_counter()
    for step in steps:
        trainer.step(step)
    return time.perf_counter() - begun


def _run_until(trainer: Trainer, quality: float) -> tuple[float, float, int]:
    """Seconds of the steps until that quality is reached, or of all; the quality then; and the steps."""
    taken, reached, done = 0.0, float("-inf"), 0
    while reached < quality and done < trainer.steps:
        taken += _run(trainer, range(done, done + EVERY))
        reached = trainer.validation_record()["quality"]
        done += EVERY
    return taken, reached, done


def _seconds_of_reference(trainer: Trainer) -> float:
    """Mean seconds of a step of the paper's recipe in the reference loop, every other one malicious."""
    objective = trainer.objectives[0]
    reference = ReferenceLoop.of(objective)
    with TemporaryDirectory() as name:
        size = trainer.config.batch_size
        sides = [in_files(side.queries[:size], Path(name), str(i)) for i, side in enumerate(objective.sides)]
        begun = time.perf_counter()
        for step in range(REFERENCE_STEPS):
            prompt = trainer.prompt.clone().requires_grad_()
            side = sides[step % 2]
            losses = [reference.loss(prompt, q, q.answer or "", answered=not q.malicious) for q in side]
            torch.stack(losses).mean().backward()
        return (time.perf_counter() - begun) / REFERENCE_STEPS
