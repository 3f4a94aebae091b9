"""`python -m experiments.directions OUT`: prompts trained along directions made in different ways.

Everything is kept in OUT, and the same command goes on from there. Prints a table for each model: the layer that was
chosen, how well it separates the validation queries, and on the test split malicious queries in images resisted,
benign queries answered right and harmless ones refused, in percent with 95 % intervals.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from davsp.api import evaluate, train
from davsp.defences.textual import SafetyPrefix, Undefended
from davsp.models.loading import load_model
from davsp.models.shipped import OF_THE_WORLD
from davsp.testbed.sources import draw_source
from davsp.training.choices import Direction
from davsp.training.config import TrainConfig
from davsp.training.vector import HarmfulnessVector
from experiments.cells import outcome_cells
from experiments.running import as_command

BATCH, NEW_TOKENS = 64, 20


def main() -> None:
    """Train, evaluate, print."""
    parser = argparse.ArgumentParser(prog="python -m experiments.directions", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", action="append", choices=OF_THE_WORLD, help="repeatable; default: all")
    parser.add_argument("--per-group", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    for name in asked.model or OF_THE_WORLD:
        model, folder = load_model(name), asked.out / name
        training, checks, test = (
            draw_source("testbed", split, asked.per_group if split == "test" else None, asked.seed, name)
            for split in ("train", "validation", "test")
        )
        runs: dict[str, dict[str, Any]] = {
            f"{way} {'in deviations' if scaled else 'as it is'}": {"direction": way, "in_deviations": scaled}
            for way in Direction
            for scaled in (False, True)
        }
        trained = {
            run: train(model, training, validation=checks, out=folder / run.replace(" ", "-"), seed=asked.seed, **how)
            for run, how in runs.items()
        }
        results = evaluate(
            model,
            test,
            [Undefended(), SafetyPrefix(TrainConfig().prefix), *trained.values()],
            out=folder / "evaluation",
            title=f"Directions on {name}",
            training=[],
            batch_size=BATCH,
            max_new_tokens=NEW_TOKENS,
            seed=asked.seed,
        ).results
        print(f"| {name} | layer | AUROC, d | resisted | right | refused |\n|---|---|---|---|---|---|")
        for defence in results.defences:
            vector = folder / defence / "vector"
            at = HarmfulnessVector.load(vector).at() if vector.is_dir() else None
            measured = f"{at.layer} | {at.auroc:.3f}, {at.separation:.2f}" if at else "- | -"
            print(f"| {defence} | {measured} | {outcome_cells(results.defences[defence])} |")


if __name__ == "__main__":
    as_command(main)
