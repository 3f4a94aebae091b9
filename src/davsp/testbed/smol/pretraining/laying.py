"""What a worker process does: lays out samples, one after the other, until it is ended. It needs no torch."""

from __future__ import annotations

import random
import traceback
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.sharedctypes import Synchronized
from typing import Any

from tokenizers import Tokenizer

from davsp.testbed.smol.pretraining.layout import Typesetter
from davsp.testbed.smol.pretraining.recipe import Recipe
from davsp.testbed.smol.pretraining.samples import TOWER, Sampler, Writer
from davsp.testbed.smol.pretraining.sketches import Draughtsman
from davsp.testbed.smol.pretraining.texts import Corpus

FAILED = -1
"""In place of a stage: what follows says how a worker failed."""


@dataclass(frozen=True)
class Materials:
    """All that samples are made of. `advances` and `heights` are of each face; `lists` and `shipped` are faces by
    number; `tokenizer`: as JSON; `end`: the token that ends a turn."""

    corpus: Corpus
    names: tuple[str, ...]
    things: int
    advances: list[list[list[float]]]
    heights: list[list[float]]
    lists: tuple[int, ...]
    shipped: tuple[int, ...]
    tokenizer: str
    end: int
    recipe: Recipe

    def sampler(self) -> Sampler:
        tokenizer = Tokenizer.from_str(self.tokenizer)
        writer = Writer(tokenizer, self.end)
        draughtsman = Draughtsman(
            Typesetter(self.advances, self.heights, tokenizer),
            len(self.advances),
            self.lists,
            self.shipped,
            [writer.encode(f" {name}") for name in self.names],
            self.things,
        )
        return Sampler(draughtsman, writer, self.corpus, self.names, self.recipe)


def lay_out(materials: Queue[Materials], seed: int, stage: Synchronized[int], done: Queue[tuple[int, Any]]) -> None:
    """Put samples of the stage that is on into a queue, as (stage, arrays), made of the next of `materials`."""
    rng = random.Random(seed)  # noqa: S311 - a choice of samples, no secret
    try:
        sampler = materials.get().sampler()
        while True:
            now = stage.value
            done.put((now, sampler.tower(rng) if now == TOWER else sampler.step(rng, now)))
    except KeyboardInterrupt:
        return
    except Exception:  # whatever it is, the process that waits for samples must hear of it
        done.put((FAILED, traceback.format_exc()))
