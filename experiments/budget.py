"""`python -m experiments.budget OUT`: Deep Alignment against answers alone, with few steps and with few queries.

The same prompt is trained with the alignment loss and the answers, and with answers alone, as `davsp demo` does, for so
many steps and on so many training queries of each kind and side; all are evaluated on the same test queries. What is in
OUT already is kept, so that the same command goes on.
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
from davsp.training.config import NO_DEEP_ALIGNMENT, TrainConfig
from davsp.training.jobs import vector_for
from experiments.cells import outcome_cells
from experiments.running import as_command

BATCH, NEW_TOKENS = 64, 20
WAYS: dict[str, dict[str, Any]] = {
    "deep alignment": {},
    "answers alone": NO_DEEP_ALIGNMENT,
}
STEPS, QUERIES = (5, 10, 20, 60), (2, 6, 16, 48)
"""Each number of steps with the most queries, and each number of queries with the most steps."""


def main() -> None:
    """Train, evaluate, print."""
    parser = argparse.ArgumentParser(prog="python -m experiments.budget", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", choices=OF_THE_WORLD, default="testbed")
    parser.add_argument("--per-group", type=int, default=40, help="test queries of each kind")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    model = load_model(asked.model)
    checks = draw_source("testbed", "validation", None, asked.seed, asked.model)
    test = draw_source("testbed", "test", asked.per_group, asked.seed, asked.model)
    print("| steps | queries of each kind | | resisted | right | refused |\n|---|---|---|---|---|---|")
    budgets = [(steps, QUERIES[-1]) for steps in STEPS] + [(STEPS[-1], queries) for queries in QUERIES[:-1]]
    for steps, queries in budgets:
        training = draw_source("testbed", "train", queries, asked.seed, asked.model)
        vector = vector_for(model, training, checks, TrainConfig().prefix, asked.out / f"vector-{queries}")
        for way, how in WAYS.items():
            folder = asked.out / f"{steps}-{queries}-{way.replace(' ', '-')}"
            if not (folder / CONFIG).is_file():
                settings = {"steps": steps, "validate_every": min(20, steps), "seed": asked.seed, **how}
                train(model, training, validation=checks, vectors=[vector], out=folder, **settings)
            [rates] = evaluate(
                model,
                test,
                [VisualSafetyPrompt.load(folder)],
                out=folder / "evaluation",
                title=f"{steps} steps, {queries} queries, {way}",
                training=[],
                batch_size=BATCH,
                max_new_tokens=NEW_TOKENS,
                seed=asked.seed,
            ).results.defences.values()
            print(f"| {steps} | {queries} | {way} | {outcome_cells(rates)} |", flush=True)


if __name__ == "__main__":
    as_command(main)
