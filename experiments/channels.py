"""`python -m experiments.channels OUT`: what borders are worth once images went through a channel, as one table.

A prompt is trained as usual and one with `augment`, with the command that users have, unless `--defence` names others;
every defence is evaluated on the same queries, whose images go through a JPEG or WEBP file, are resized and brought
back, or cropped. What changes images does so before, as a client would; what reads or judges them sees them as they
arrive, like the undefended model, at the size at which that sees images. What is in OUT already is kept.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch

from davsp import api
from davsp.data.query import Query
from davsp.defences import load_defence
from davsp.defences.base import Defence, Exchange, RewritingDefence
from davsp.imaging.canvas import Canvas
from davsp.imaging.opening import open_image
from davsp.imaging.pixels import stack, to_image
from davsp.judges.rates import pooled
from davsp.models.loading import load_model
from davsp.models.requests import Request
from davsp.models.shipped import OF_THE_WORLD, SMOL
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


class Through(Defence):
    """A defence that meets images on their way: what it composes goes through a channel, and else what it is given."""

    def __init__(self, inner: Defence, channel: str, canvas: Canvas) -> None:
        self.within, self.channel, self.canvas = inner, channel, canvas
        self.kind = inner.kind  # type: ignore[misc]
        self.name, self.reads_states = inner.name, inner.reads_states  # type: ignore[misc]

    @property
    def identity(self) -> str:
        return f"{self.within.identity} {self.channel}"

    async def answer(self, query: Query, exchange: Exchange) -> str:
        sent = await asyncio.to_thread(self._sent, query)
        if isinstance(self.within, RewritingDefence):
            return (await exchange.ask(Request(sent.messages))).text
        return await self.within.answer(sent, exchange)

    def _sent(self, query: Query) -> Query:
        if isinstance(self.within, RewritingDefence):
            query = self.within.defend(query)
        image = self.canvas.resize(open_image(query.image))
        return query.with_image(to_image(CHANNELS[self.channel](stack([image])[0])))


def main() -> None:
    """Train and evaluate what is missing; print the table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.channels", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", choices=[*OF_THE_WORLD, SMOL], default=OF_THE_WORLD[0])
    parser.add_argument("--data", default="testbed", help=f"of {SMOL}: smol=FOLDER, the folder of the public texts")
    parser.add_argument("--dtype", default="auto", help="of the model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--augment", type=float, default=0.5)
    parser.add_argument("--per-group", type=int, default=60, help="test queries of each kind")
    parser.add_argument("--channel", action="append", choices=CHANNELS, help="default: all")
    parser.add_argument("--defence", action="append", help="what `davsp evaluate` takes, instead of those trained here")
    asked = parser.parse_args()
    model = load_model(asked.model, dtype=asked.dtype)
    queries = draw_source(asked.data, "test", asked.per_group, asked.seed, asked.model)
    defences = [load_defence(name).on_canvas(model.canvas) for name in ("none", *(asked.defence or _trained(asked)))]
    print(f"| channel | {' | '.join(defence.name for defence in defences)} |\n|---|{'---|' * len(defences)}")
    for channel in asked.channel or CHANNELS:
        results = api.evaluate(
            model,
            queries,
            [Through(defence, channel, model.canvas) for defence in defences],
            out=asked.out / "eval" / channel,
            batch_size=64,
            max_new_tokens=24,
            seed=asked.seed,
        ).results
        print(f"| {channel} | {' | '.join(_cell(rates) for rates in results.defences.values())} |", flush=True)


def _trained(asked: argparse.Namespace) -> list[str]:
    """The folders of the two prompts, trained if need be."""
    folders = []
    for name, share in {"davsp": 0.0, "davsp_augmented": asked.augment}.items():
        folders.append(str(asked.out / name))
        if not (asked.out / name / "config.json").exists():
            options = ["--set", f"seed={asked.seed}", "--set", f"augment={share}"]
            run_davsp("train", "--model", asked.model, "--data", asked.data, *options, "--out", folders[-1])
    return folders


def _cell(rates: Rates) -> str:
    """Resisted in images, benign right, harmless refused."""
    parts = [
        [rate for kind, rate in rates.rsr.items() if kind in IMAGES],
        list(rates.benign_accuracy.values()),
        list(rates.over_refusal.values()),
    ]
    return " / ".join(rate_cell(pooled(part)) for part in parts)


if __name__ == "__main__":
    as_command(main)
