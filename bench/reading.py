"""Extraction of the harmfulness vector over all layers: queries per second."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench import bare
from bench.measuring import Row, in_turns, row
from bench.subjects import queries_in_files
from bench.training import prepare
from davsp.imaging.pixels import as_batch
from davsp.training.vector import extract_vector
from davsp.util.batching import batched

BATCH = {"testbed": 32, "slim": 8, "7b": 16, "13b": 16}
PER_GROUP = {"testbed": 16, "slim": 1, "7b": 8, "13b": 8}


def rows(size: str) -> list[Row]:
    """Directions from some queries; the validation set is of the smallest kind."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        bench = prepare(size, folder)
        fitting, _ = queries_in_files(folder, PER_GROUP[size])
        checks = [next(q for q in fitting if q.malicious is side) for side in (False, True)]
        everything = [*fitting, *checks]
        batch = BATCH[size]
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
                "ours": lambda: extract_vector(
                    bench.vlm, fitting, checks, prefix=bench.reference.prefix, batch_size=batch
                ),
                "floor": floor,
            }
        )
    return [
        row(
            "vector over all layers: queries per second",
            size,
            seconds,
            reference_aim=1.3,
            floor_aim=0.95,
            note=f"{len(everything)} queries in batches of {batch}; "
            "the floor's inputs lie ready, ours are opened, resized and tokenised",
        )
    ]
