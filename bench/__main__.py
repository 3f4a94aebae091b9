"""`make bench`: how many times faster training steps are than the paper's cost structure, on the same samples.

The reference (tests/reference) runs one sample at a time, keeps every hidden state, and computes the answer loss in a
forward pass of its own. Both do the same mathematics; a test holds them equal. Pairs are run in turns, so that both see
the same machine.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tests.reference.deep_alignment import Method, Sample

from davsp.chat import SAFETY_PREFIX
from davsp.config import TrainConfig
from davsp.models import load_model
from davsp.objective import Objective, plan
from davsp.testbed.queries import border_queries
from davsp.train import Trainer
from davsp.vector import extract_vector

PAIRS = 7
BATCHES = (2, 16)
RESULTS = Path(__file__).parent / "results.json"


def main() -> None:
    model = load_model("testbed")
    queries = border_queries(seed=0, per_group=8, checks_per_group=2)
    vector = extract_vector(model, *queries, prefix=SAFETY_PREFIX)
    rows = []
    with TemporaryDirectory() as folder:
        filled = plan(model, vector, TrainConfig())
        trainer = Trainer([Objective(model, filled, vector.direction(filled.layer), *queries)], Path(folder))
        image = model.processor.image_processor
        mean, std = (torch.tensor(v)[:, None, None] for v in (image.image_mean, image.image_std))
        reference = Method(
            model.model,
            mean,
            std,
            filled.layout.border,
            filled.layer,
            trainer.objectives[0].direction,
            filled.tau_plus,
            filled.tau_minus,
            filled.config.answer_weight,
        )
        for batch in BATCHES:
            ratios = [_pair(trainer, reference, batch) for _ in range(PAIRS + 1)][1:]
            row = {
                "name": "training step, half malicious",
                "size": "testbed",
                "batch": batch,
                "vs_reference": {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)},
                "n": PAIRS,
            }
            rows.append(row)
            print(
                f"{row['name']}, batch {batch}: {statistics.median(ratios):.2f}x [{min(ratios):.2f}, {max(ratios):.2f}]"
            )
    found = {
        "machine": {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "versions": {p: version(p) for p in ("davsp", "torch", "transformers")},
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


def _pair(trainer: Trainer, reference: Method, batch: int) -> float:
    """Reference seconds over ours for one malicious and one benign batch."""
    indices = list(range(batch))
    samples = {
        malicious: [
            Sample(side.interiors[i].float() / 255, side.prompts[i], side.answers[i], malicious) for i in indices
        ]
        for malicious, side in ((False, trainer.objectives[0].sides[0]), (True, trainer.objectives[0].sides[1]))
    }
    prompt = trainer.prompt.clone().requires_grad_()
    begun = time.perf_counter()
    for malicious in (True, False):
        torch.stack([reference.loss(prompt, s, not malicious) for s in samples[malicious]]).mean().backward()
    slow = time.perf_counter() - begun
    begun = time.perf_counter()
    for malicious in (True, False):
        trainer.objectives[0].loss(prompt, malicious, indices, not malicious)[0].backward()
    return slow / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
