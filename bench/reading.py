"""Extraction of the harmfulness vector over all layers: queries per second."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench import bare
from bench.measuring import PAIRS, Row, in_turns, row
from bench.subjects import queries_in_files
from bench.training import Bench, prepare
from davsp.imaging.pixels import as_batch
from davsp.training.vector import extract_vector
from davsp.util.batching import batched

BATCH = {"testbed": 32, "slim": 8}
PER_GROUP = {"testbed": 16, "slim": 1}
NAME = "vector over all layers: queries per second"


def rows(size: str) -> list[Row]:
    """Of the model of a size."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        return [vector_row(prepare(size, folder), size, folder, PER_GROUP[size], BATCH[size])]


def vector_row(
    bench: Bench,
    size: str,
    folder: Path,
    per_group: int,
    batch: int,
    *,
    reference_aim: float | None = 1.3,
    turns: int = PAIRS,
) -> Row:
    """Directions from some queries; the validation set is of the smallest kind."""
    fitting, _ = queries_in_files(folder, per_group)
    checks = [next(q for q in fitting if q.malicious is side) for side in (False, True)]
    everything = [*fitting, *checks]
    ready = []
    for some in batched(everything, batch):
        pixels = bench.vlm.normalise(as_batch(bench.vlm.canvas_pixels(some)).to(bench.vlm.device))
        prompts = [bench.vlm.prompt_ids(q.question, bench.reference.prefix) for q in some]
        ready.append((pixels, bench.vlm.tokens(prompts).ids))

    def floor() -> None:
        with torch.inference_mode():
            for pixels, ids in ready:
                bare.final_states(bench.vlm, pixels, ids)

    seconds = in_turns(
        {
            "reference": lambda: bench.reference.harmfulness_vector(everything),
            "ours": lambda: extract_vector(bench.vlm, fitting, checks, prefix=bench.reference.prefix, batch_size=batch),
            "floor": floor,
        },
        turns,
    )
    return row(
        NAME,
        size,
        seconds,
        reference_aim=reference_aim,
        floor_aim=0.95,
        note=f"{len(everything)} queries in batches of {batch}; "
        "the floor's inputs lie ready, ours are opened, resized and tokenised",
    )
