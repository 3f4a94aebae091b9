"""How speed and memory grow: with the batch, the decoder's depth, the image, and the number of queries."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from bench.measuring import in_process_of_its_own, in_turns
from bench.training import forget_peak, peak_mib, prepare
from davsp.data.query import Query
from davsp.models.loading import load_model
from davsp.prompts.layouts import BorderLayout
from davsp.testbed.queries import border_queries
from davsp.training.batches import Prepared
from davsp.training.config import TrainConfig
from davsp.training.objective import Objective, TrainingPlan, lay_out

BATCHES = (1, 2, 4, 8, 16, 32)
SIDES = (48, 64, 80, 96, 112, 128)
"""Up to what the model's processor takes without shrinking, frame included."""
DATA = (100, 1_000, 10_000, 100_000)
Points = list[dict[str, Any]]


def growth() -> dict[str, Points]:
    """Points by what grows; on the testbed's model."""
    return {
        "batch": _batches(),
        "layer": _layers(),
        "image": _images(),
        "queries": [_queries(count) for count in DATA],
    }


def markdown(grown: dict[str, Points]) -> str:
    """The points as tables: a column for each."""
    lines = []
    for points in grown.values():
        heads = list(points[0])
        lines += [
            f"| {heads[0]} | {' | '.join(str(point[heads[0]]) for point in points)} |",
            "|---|" + "---|" * len(points),
            *(f"| {h.replace('_', ' ')} | {' | '.join(f'{p[h]:.3g}' for p in points)} |" for h in heads[1:]),
            "",
        ]
    return "\n".join(lines)


def _batches() -> Points:
    with TemporaryDirectory() as folder:
        bench = prepare("testbed", Path(folder))

        def pair(batch: int) -> Callable[[], None]:
            return lambda: bench.ours(batch)

        seconds = in_turns({str(batch): pair(batch) for batch in BATCHES})
    return [{"batch": int(b), "samples_per_second": 2 * int(b) / sorted(s)[len(s) // 2]} for b, s in seconds.items()]


def _layers() -> Points:
    """Seconds of a malicious batch of 16 that ends at each decoder layer."""
    with TemporaryDirectory() as folder:
        bench = prepare("testbed", Path(folder))

        def end_at(layer: int) -> Callable[[], None]:
            def run() -> None:
                bench.objective.plan = replace(bench.objective.plan, layer=layer)
                prompt = bench.trainer.prompt.clone().requires_grad_()
                bench.objective.loss(prompt, True, range(16), answered=False)[0].backward()

            return run

        seconds = in_turns({str(k): end_at(k) for k in range(1, bench.vlm.n_layers + 1)})
    return [{"layer": int(k), "seconds": sorted(s)[len(s) // 2]} for k, s in seconds.items()]


def _images() -> Points:
    """Seconds of a malicious batch of 8 in frames, on the model that takes images of any size."""
    model = load_model("testbed-qwen2vl")
    config = TrainConfig(layer=max(1, model.n_layers // 2))
    planned = TrainingPlan(config, lay_out(model, config), config.layer or 1, tau_plus=1e3, tau_minus=-1e3)
    prompt = torch.full((3, *planned.layout.size), 0.5)

    def of_side(side: int) -> Callable[[], None]:
        training, checks = border_queries(seed=0, per_group=4, checks_per_group=1, side=side)
        objective = Objective(model, planned, torch.ones(model.hidden_size), training, checks)

        def run() -> None:
            objective.loss(prompt.clone().requires_grad_(), True, range(8), answered=False)[0].backward()

        return run

    seconds = in_turns({str(side): of_side(side) for side in SIDES})
    return [{"image side": int(s), "seconds": sorted(taken)[len(taken) // 2]} for s, taken in seconds.items()]


def _queries(count: int) -> dict[str, Any]:
    prepared, batches, memory = in_process_of_its_own("bench.growth", str(count)).split()[-3:]
    return {
        "queries": count,
        "preparing_seconds": float(prepared),
        "seconds_of_100_batches": float(batches),
        "memory_mib": float(memory),
    }


def main(count: str) -> None:
    """Prepare so many queries (a few distinct images, read anew each time) and draw batches from them; print seconds of
    both and the memory they took."""
    model = load_model("testbed")
    layout = BorderLayout(112, 112, border=14)
    few = border_queries(seed=0, per_group=4, checks_per_group=1)[0]
    with TemporaryDirectory() as name:
        paths = []
        for number, query in enumerate(few):
            paths.append(Path(name) / f"{number}.png")
            query.image.save(paths[-1])  # type: ignore[union-attr]
        many = [
            Query(str(i), paths[i % len(few)], few[i % len(few)].question, "yes", malicious=False)
            for i in range(int(count))
        ]
        before = forget_peak()
        begun = time.perf_counter()
        prepared = Prepared(model, many, layout, "")
        taken = time.perf_counter() - begun
        generator = torch.Generator().manual_seed(0)
        begun = time.perf_counter()
        for _ in range(100):
            prepared.batch(torch.randint(len(many), (16,), generator=generator).tolist(), answered=True)
        print(taken, time.perf_counter() - begun, peak_mib() - before)


if __name__ == "__main__":
    main(sys.argv[1])
