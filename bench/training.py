"""Training steps: ours, the reference loop's, and a bare loop's; their arithmetic, and their peak memory."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench import bare
from bench.measuring import Row, in_process_of_its_own, in_turns, row, spread
from bench.reference_loop import MAX_LEN, ReferenceLoop
from bench.subjects import queries_in_files, subject
from davsp.imaging.pixels import as_batch
from davsp.models.base import VisionLanguageModel
from davsp.prompts.layouts import Mode
from davsp.training.config import TrainConfig
from davsp.training.objective import Objective, TrainingPlan, lay_out
from davsp.training.trainer import Trainer

PAPER_BATCH = 2
FASTER = {
    "testbed": {PAPER_BATCH: 2.5, 16: 3.0},
    "slim": {PAPER_BATCH: 1.8},
}
"""How many times the reference's speed is wanted, by size and batch: the paper's, and the fastest."""
OF_BARE = 0.92
SIDES = ("ours", "reference", "floor")
PEAK_MEMORY = "peak memory of a malicious step, batch 2 (less is better)"


@dataclass
class Bench:
    """A trainer and the loops it is compared with, on the same queries."""

    vlm: VisionLanguageModel
    trainer: Trainer
    reference: ReferenceLoop

    @property
    def objective(self) -> Objective:
        return self.trainer.objectives[0]

    def ours(self, batch: int) -> None:
        """Forward and backward of a malicious and a benign batch."""
        prompt = self.trainer.prompt.clone().requires_grad_()
        for malicious in (True, False):
            self.objective.gradient(prompt, malicious, range(batch), answered=not malicious)

    def slow(self) -> None:
        """The same of the paper's batch, by the reference loop."""
        prompt = self.trainer.prompt.clone().requires_grad_()
        for malicious in (True, False):
            side = self.objective.sides[malicious]
            losses = [
                self.reference.loss(prompt, query, query.answer or "", answered=not malicious)
                for query in side.queries[:PAPER_BATCH]
            ]
            torch.stack(losses).mean().backward()

    def floor(self, batch: int) -> Callable[[], None]:
        """The same as `ours`, by a bare loop; its inputs are made here."""
        ready = []
        for malicious in (True, False):
            prepared = self.objective.sides[malicious].batch(range(batch), answered=not malicious)
            pixels = self.objective.plan.layout.compose(self.trainer.prompt, prepared.interior)
            ready.append((self.vlm.normalise(as_batch(pixels)), prepared.tokens))
        (harmful, prompts), (harmless, answered) = ready
        rows, columns = answered.rows, answered.columns
        labels = answered.labels[rows, columns]
        layer, direction = self.objective.plan.layer, self.objective.direction

        def run() -> None:
            bare.malicious_step(
                self.vlm, harmful.clone().requires_grad_(), prompts.ids, prompts.last_prompt, layer, direction
            )
            bare.benign_step(self.vlm, harmless.clone().requires_grad_(), answered.ids, rows, columns, labels)

        return run

    def arithmetic(self, batch: int) -> tuple[float, float, float]:
        """Multiply-adds of the reference, of ours and of what is needed, for a malicious and a benign sample.

        Layer x token products weighted by a layer's size, forward 1 and backward 1 for every token that passes;
        attention's own products are left out.
        """
        vision, decoder = self.vlm.model.config.vision_config, self.vlm.model.config.text_config
        seeing = vision.num_hidden_layers * ((vision.image_size // vision.patch_size) ** 2 + 1)
        seeing *= 4 * vision.hidden_size**2 + 2 * vision.hidden_size * vision.intermediate_size
        block = 4 * decoder.hidden_size**2 + 3 * decoder.hidden_size * decoder.intermediate_size
        layers, layer = decoder.num_hidden_layers, self.objective.plan.layer
        head = decoder.vocab_size * decoder.hidden_size
        done = needed = 0.0
        for malicious in (True, False):
            side = self.objective.sides[malicious]
            shapes = zip(side.prompts.shapes, side.answers.shapes, strict=True)
            lengths = [prompt + (0 if malicious else answer) for (prompt,), (answer,) in shapes]
            lengths = lengths[:batch]
            blocks = layer if malicious else layers
            done += 2 * seeing + 2 * blocks * block * max(lengths)
            needed += 2 * seeing + 2 * blocks * block * sum(lengths) / len(lengths)
        malicious_slow = 2 * seeing + (layers + layer) * block * MAX_LEN + head * MAX_LEN
        benign_slow = 4 * seeing + (3 * layers + layer) * block * MAX_LEN + 3 * head * MAX_LEN
        return malicious_slow + benign_slow, done, needed


def prepare(size: str, folder: Path) -> Bench:
    """Everything ready for steps of one size of model; layer and thresholds are the paper's share, not measured."""
    vlm = subject(size)
    training, validation = queries_in_files(folder)
    layer = max(1, vlm.n_layers // 2)
    config = TrainConfig(mode=Mode.BORDER, layer=layer)
    generator = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(vlm.hidden_size, generator=generator), dim=0)
    planned = TrainingPlan(
        config, lay_out(vlm, config), layer, tau_plus=1e3, tau_minus=-1e3
    )  # neither hinge is ever idle
    trainer = Trainer([Objective(vlm, planned, direction, training, validation)])
    return Bench(vlm, trainer, ReferenceLoop.of(trainer.objectives[0]))


def rows(size: str) -> list[Row]:
    """Training at the paper's batch and at the fastest one, and the memory of a malicious step."""
    measured = []
    with TemporaryDirectory() as folder:
        bench = prepare(size, Path(folder))
        sides: dict[str, Callable[[], object]] = {"reference": bench.slow}
        for batch in FASTER[size]:
            sides |= {f"ours {batch}": partial(bench.ours, batch), f"floor {batch}": bench.floor(batch)}
        seconds = in_turns(sides)
    for batch, aim in FASTER[size].items():
        taken = {"reference": seconds["reference"], **{side: seconds[f"{side} {batch}"] for side in ("ours", "floor")}}
        slow, done, needed = bench.arithmetic(batch)
        measured.append(
            row(
                f"training, batch {batch}, half malicious: samples per second",
                size,
                taken,
                work={"ours": batch, "floor": batch, "reference": PAPER_BATCH},
                reference_aim=aim,
                floor_aim=OF_BARE,
                note=f"by arithmetic {slow / done:.1f}x the reference; padding adds {100 * (done / needed - 1):.0f} %",
            )
        )
    return [*measured, memory_row(size)]


def memory_row(size: str) -> Row:
    """Peak memory of a malicious step beyond the loaded model and libraries, each side in a process of its own."""
    return row_of_peaks(
        size,
        {
            side: [float(in_process_of_its_own("bench.training", size, side).split()[-1]) for _ in range(3)]
            for side in SIDES
        },
    )


def row_of_peaks(size: str, peaks: Mapping[str, list[float]]) -> Row:
    """The row of what each of SIDES took, in MiB."""
    ours = peaks["ours"]
    shares = {
        side: spread([a / b for a, b in zip(ours, peaks[side], strict=True)], aim)
        for side, aim in (("reference", 0.5), ("floor", None))
    }
    return {
        "name": PEAK_MEMORY,
        "size": size,
        "vs_reference": shares["reference"],
        "vs_floor": shares["floor"],
        "n": len(ours),
        "note": f"ours {statistics.median(ours):.0f} MiB beyond the loaded model",
    }


def forget_peak() -> float:
    """Forget what was held at most so far (by the GPU, if there is one, else by the process), and give what is held
    now, in MiB."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    Path("/proc/self/clear_refs").write_text("5")
    return peak_mib()


def peak_mib() -> float:
    """The most memory held since."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(text.split()[1]) for text in status if text.startswith("VmHWM")) / 1024


def main(size: str, side: str) -> None:
    """Print how many MiB a malicious step of one side takes beyond what was held before it."""
    with TemporaryDirectory() as folder:
        print(peak_of_step(prepare(size, Path(folder)), side))


def peak_of_step(bench: Bench, side: str) -> float:
    """MiB that a malicious step of one of SIDES takes beyond what was held before it."""
    prompt = bench.trainer.prompt.clone().requires_grad_()
    queries = bench.objective.sides[True].queries[:PAPER_BATCH]
    batch = bench.objective.sides[True].batch(range(PAPER_BATCH), answered=False)
    pixels = bench.objective.plan.layout.compose(prompt.detach(), batch.interior)
    pixels = bench.vlm.normalise(as_batch(pixels))
    before = forget_peak()
    if side == "ours":
        bench.objective.gradient(prompt, True, range(PAPER_BATCH), answered=False)
    elif side == "reference":
        torch.stack([bench.reference.loss(prompt, q, "", answered=False) for q in queries]).mean().backward()
    else:
        tokens, plan = batch.tokens, bench.objective.plan
        bare.malicious_step(
            bench.vlm,
            pixels.requires_grad_(),
            tokens.ids,
            tokens.last_prompt,
            plan.layer,
            bench.objective.direction,
        )
    return peak_mib() - before


if __name__ == "__main__":
    main(*sys.argv[1:])
