"""`python -m experiments.transfer OUT THIRD`: borders trained on one testbed model or on both, on every model.

THIRD is a folder that `davsp testbed pretrain --seed 1` wrote: a model that no border was trained for. Everything is
kept in OUT, and the same command goes on from there. All borders are of one layout, SIDE pixels with WIDTH of border,
so that every model can be given every border. Prints a table: each cell is malicious queries in images resisted /
benign queries answered right / harmless ones refused, in percent. A second table shows what the fixed canvas and the
frame do to the Qwen2-VL's reading.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from davsp.api import evaluate
from davsp.data.query import Query
from davsp.defences.textual import SafetyPrefix, Undefended
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt, train_prompt
from davsp.judges.rates import pooled
from davsp.models.base import VisionLanguageModel
from davsp.models.loading import load_model
from davsp.models.shipped import OF_THE_WORLD
from davsp.prompts.layouts import Mode
from davsp.rates import Rate, Rates
from davsp.testbed.queries import border_queries, draw_queries
from davsp.testbed.world import Split
from davsp.training.config import TrainConfig
from davsp.training.jobs import vector_for
from experiments.running import as_command

SIDE, WIDTH = 112, 14
BATCH, NEW_TOKENS = 64, 20
FREE = "testbed-qwen2vl"
"""The model that takes images of any size."""


def main() -> None:
    """Train, evaluate, print."""
    parser = argparse.ArgumentParser(prog="python -m experiments.transfer", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("third")
    parser.add_argument("--per-group", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    models = {name: load_model(name) for name in OF_THE_WORLD}
    config = TrainConfig(mode=Mode.BORDER, side=SIDE, width=WIDTH, seed=asked.seed)
    # Drawn at one size for all: each model resizes them into its border's middle.
    queries = border_queries(asked.seed, side=SIDE)
    trained = [
        _train({name: models[name] for name in names}, config, queries, asked.out / "-and-".join(names))
        for names in (["testbed"], ["testbed-qwen2vl"], ["testbed", "testbed-qwen2vl"])
    ]
    frame = config.model_copy(update={"mode": Mode.FRAME, "width": None, "side": None})
    framed = _train({FREE: models[FREE]}, frame, queries, asked.out / "frame")
    test = draw_queries(Split.TEST, asked.per_group, asked.seed, side=SIDE)
    results = {}
    for name in (*models, "third"):
        results[name] = evaluate(
            models.get(name) or load_model(asked.third),
            test,
            [
                Undefended(),
                SafetyPrefix(config.prefix),
                *trained,
                *([framed] if name == FREE else []),
            ],
            out=asked.out / f"on-{name}",
            title=f"Borders of several models on {name}",
            training=[],
            batch_size=BATCH,
            max_new_tokens=NEW_TOKENS,
            seed=asked.seed,
            transfer=True,
        ).results
    print(f"| trained on | {' | '.join(f'on {name}' for name in results)} |\n|{'---|' * (len(results) + 1)}")
    for defence in results["third"].defences:
        print(f"| {defence} | {' | '.join(_cell(of_model.defences[defence]) for of_model in results.values())} |")
    print("\n| on the Qwen2-VL | reading | all benign |\n|---|---|---|")
    for name, rates in results[FREE].defences.items():
        benign = rates.benign_accuracy
        print(f"| {name} | {_percent([benign['reading']])} | {_percent(benign.values())} |")


def _train(
    models: dict[str, VisionLanguageModel], config: TrainConfig, queries: tuple[list[Query], list[Query]], folder: Path
) -> VisualSafetyPrompt:
    pairs = [
        (model, vector_for(model, *queries, config.prefix, folder / f"vector-{name}", batch_size=BATCH))
        for name, model in models.items()
    ]
    return train_prompt(pairs, config, *queries, folder)


def _cell(rates: Rates) -> str:
    """Each measure pooled over its kinds; malicious queries that are text alone are left out."""
    in_images = [rate for kind, rate in rates.rsr.items() if kind != "text"]
    return " / ".join(map(_percent, (in_images, rates.benign_accuracy.values(), rates.over_refusal.values())))


def _percent(rates: Iterable[Rate]) -> str:
    rate = pooled(rates)
    assert rate is not None and rate.rate is not None
    return f"{100 * rate.rate:.1f}"


if __name__ == "__main__":
    as_command(main)
