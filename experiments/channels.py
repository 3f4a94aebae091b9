"""`python -m experiments.channels OUT`: what borders are worth once images went through a channel, as one table.

A prompt is trained as usual and one with `augment`, with the command that users have; every defence is evaluated on the
same queries, whose images, composed, go through a JPEG or WEBP file, are resized and brought back, or cropped. The
undefended model sees the same channels, at the size at which it sees images. What is in OUT already is kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch

from davsp import api
from davsp.data.query import Query
from davsp.defences import load_defence
from davsp.defences.base import RewritingDefence
from davsp.imaging.canvas import Canvas
from davsp.imaging.opening import open_image
from davsp.imaging.pixels import stack, to_image
from davsp.judges.rates import pooled
from davsp.models.loading import load_model
from davsp.models.shipped import OF_THE_WORLD
from davsp.rates import Rates
from davsp.testbed.sources import draw_source
from davsp.training.channels import cropped, filed, there_and_back
from experiments.cells import rate_cell
from experiments.defences import IMAGES, run_davsp
from experiments.running import as_command

CHANNELS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "plain": lambda pixels: pixels,
    "JPEG 80": partial(filed, form="JPEG", quality=80),
    "JPEG 50": partial(filed, form="JPEG", quality=50),
    "JPEG 30": partial(filed, form="JPEG", quality=30),
    "WEBP 80": partial(filed, form="WEBP", quality=80),
    "0.75 and back": partial(there_and_back, scale=0.75),
    "0.5 and back": partial(there_and_back, scale=0.5),
    "2 pixels cropped": partial(cropped, top=2, left=2, bottom=2, right=2),
}


class Through(RewritingDefence):
    """A rewriting defence whose images go through a channel before the model sees them."""

    def __init__(self, inner: RewritingDefence, channel: str, canvas: Canvas) -> None:
        self.within, self.channel, self.canvas = inner, channel, canvas
        self.kind = inner.kind  # type: ignore[misc]
        self.name = inner.name

    @property
    def identity(self) -> str:
        return f"{self.within.identity} {self.channel}"

    def defend(self, query: Query) -> Query:
        defended = self.within.defend(query)
        image = self.canvas.resize(open_image(defended.image))
        return defended.with_image(to_image(CHANNELS[self.channel](stack([image])[0])))


def main() -> None:
    """Train and evaluate what is missing; print the table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.channels", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", choices=OF_THE_WORLD, default=OF_THE_WORLD[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--augment", type=float, default=0.5)
    parser.add_argument("--per-group", type=int, default=60, help="test queries of each kind")
    parser.add_argument("--channel", action="append", choices=CHANNELS, help="default: all")
    asked = parser.parse_args()
    out: Path = asked.out
    trained = {"davsp": 0.0, "davsp_augmented": asked.augment}
    for name, share in trained.items():
        if not (out / name / "config.json").exists():
            options = ["--set", f"seed={asked.seed}", "--set", f"augment={share}"]
            command = ["train", "--model", asked.model, "--data", "testbed", *options, "--out", str(out / name)]
            run_davsp(*command)
    model = load_model(asked.model)
    queries = draw_source("testbed", "test", asked.per_group, asked.seed, asked.model)
    defences = [load_defence(name).on_canvas(model.canvas) for name in ("none", *(str(out / name) for name in trained))]
    print(f"| channel | {' | '.join(defence.name for defence in defences)} |\n|---|{'---|' * len(defences)}")
    for channel in asked.channel or CHANNELS:
        through = [Through(d, channel, model.canvas) for d in defences if isinstance(d, RewritingDefence)]
        results = api.evaluate(
            model, queries, through, out=out / "eval" / channel, batch_size=64, max_new_tokens=20, seed=asked.seed
        ).results
        print(f"| {channel} | {' | '.join(_cell(results.defences[d.name]) for d in through)} |", flush=True)


def _cell(rates: Rates) -> str:
    """Resisted in images, benign right, harmless refused."""
    parts = [
        [rates.rsr[kind] for kind in IMAGES],
        list(rates.benign_accuracy.values()),
        list(rates.over_refusal.values()),
    ]
    return " / ".join(rate_cell(pooled(part)) for part in parts)


if __name__ == "__main__":
    as_command(main)
