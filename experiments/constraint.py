"""`python -m experiments.constraint OUT --keep BOUND ...`: benign answers held under a bound, against today's default.

Trains on the testbed a prompt with the default options and one with `benign=divergence` for each bound, and prints a
table: on the test split malicious queries in images resisted, benign queries answered right and harmless look-alikes
refused, in percent with 95 % intervals. What is in OUT already is kept, so that the same command goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from davsp.api import evaluate, train
from davsp.defences.stored import CONFIG
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.models.loading import load_model
from davsp.models.shipped import OF_THE_WORLD
from davsp.testbed.sources import draw_source
from davsp.training.config import TrainConfig
from davsp.training.jobs import vector_for
from experiments.cells import outcome_cells
from experiments.running import as_command

BATCH, NEW_TOKENS = 64, 20


def main() -> None:
    """Train, evaluate, print."""
    parser = argparse.ArgumentParser(prog="python -m experiments.constraint", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--keep", type=float, nargs="*", default=[], metavar="BOUND", help="in nats a token")
    parser.add_argument("--model", choices=OF_THE_WORLD, default="testbed")
    parser.add_argument("--per-group", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    model, out = load_model(asked.model), asked.out
    training, checks, test = (
        draw_source("testbed", split, asked.per_group if split == "test" else None, asked.seed, asked.model)
        for split in ("train", "validation", "test")
    )
    runs: dict[str, dict[str, Any]] = {"answers": {}}
    runs |= {f"keep-{bound:g}": {"benign": "divergence", "keep": bound} for bound in asked.keep}
    vector = vector_for(model, training, checks, TrainConfig().prefix, out / "vector")
    print("| | resisted | right | refused |\n|---|---|---|---|")
    for run, how in runs.items():
        folder = out / run
        if not (folder / CONFIG).is_file():
            train(model, training, validation=checks, vectors=[vector], out=folder, seed=asked.seed, **how)
        results = evaluate(
            model,
            test,
            [VisualSafetyPrompt.load(folder)],
            out=folder / "evaluation",
            title=f"{run} on {asked.model}",
            batch_size=BATCH,
            max_new_tokens=NEW_TOKENS,
            seed=asked.seed,
        ).results
        [rates] = results.defences.values()
        print(f"| {run} | {outcome_cells(rates)} |", flush=True)


if __name__ == "__main__":
    as_command(main)
