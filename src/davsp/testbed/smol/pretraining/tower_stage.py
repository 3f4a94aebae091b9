"""The tower alone: it learns which letters lie in each patch, and to say the decoder's own tokens there."""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from davsp.testbed.smol.pretraining.canvas import Canvas
from davsp.testbed.smol.pretraining.layout import CHARACTERS, SIDE, SLOTS
from davsp.testbed.smol.pretraining.samples import TOWER
from davsp.testbed.smol.pretraining.stage import Stage, memory
from davsp.testbed.smol.pretraining.tower import WIDTH, Tower
from davsp.testbed.smol.pretraining.workers import Sample, Supply, on_device
from davsp.util.failures import reason

NO_LETTER = 0.1
"""Weight of a place that has no letter, beside 1 for one that has: most have none."""
WEIGHTS = {"letters": 1.0, "tokens": 1.0, "near": 0.3, "blank": 0.1}
DECAY = 0.02


class TowerStage:
    """`embeddings`: (tokens, TOKEN_WIDTH), float32, the decoder's own."""

    def __init__(self, tower: Tower, embeddings: Tensor, canvas: Canvas, supply: Supply, stage: Stage) -> None:
        self.tower, self.canvas, self.supply, self.stage = tower, canvas, supply, stage
        self.device = embeddings.device
        self.embeddings = embeddings
        self.directions = F.normalize(embeddings, dim=-1).to(tower.dtype)
        self.head = nn.Linear(WIDTH, 2 * SLOTS * (len(CHARACTERS) + 1), device=self.device)
        self.sharpness = nn.Parameter(torch.tensor(3.0, device=self.device))
        self.weight = torch.tensor([NO_LETTER, *[1.0] * len(CHARACTERS)], device=self.device)
        self.pieces = 1

    def compile(self) -> None:
        """Compile the tower's layers, and see that they run; where they do not, they stay as they are."""
        begun = time.monotonic()
        self.tower.block.compile()
        try:
            images = torch.rand(self.stage.recipe.chunk, 3, SIDE, SIDE, device=self.device)
            _, out = self.tower(images)
            out.float().mean().backward()
        except Exception as error:  # whatever a compiler says: nothing depends on it
            self.tower.block.give_up()
            self.stage.log(f"the tower is not compiled: {reason(error)[:200]}")
        self.tower.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.empty_cache()
        self.stage.log(f"compiled: {self.tower.block.is_compiled}, {time.monotonic() - begun:.0f} s")

    def run(self) -> None:
        """Train until the stage is over."""
        stage, rates = self.stage, self.stage.recipe.tower_rate
        matrices = self.tower.matrices()
        among = {id(p) for p in matrices}
        own = [*self.head.parameters(), self.sharpness]
        others = [p for p in self.tower.parameters() if id(p) not in among]
        groups = [{"params": others, "highest": rates}, {"params": own, "highest": 2 * rates}]
        fused = self.device.type == "cuda"
        optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=rates, betas=(0.9, 0.98), weight_decay=DECAY, fused=fused),
            torch.optim.Muon(
                [{"params": matrices, "highest": rates}], lr=rates, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"
            ),
        ]
        everything = [*others, *matrices, *own]
        self.supply.switch(TOWER)
        sample = self.supply.take()
        stage.begin()
        while not stage.is_over:
            stage.set_rates(optimizers)
            is_due = stage.is_due
            try:
                figures = self._gradients(sample, is_due)
            except torch.OutOfMemoryError:
                self._halve(optimizers)
                continue
            nn.utils.clip_grad_norm_(everything, 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            stage.step_done(len(sample.arrays["frame"]))
            if is_due:
                reuse = f"{self.supply.laid_out} laid out, {self.supply.taken} taken {memory(self.device)}"
                stage.line(figures, reuse)
            sample = self.supply.take()
        self.tower.block.give_up()  # other stages have other shapes

    def _halve(self, optimizers: list[torch.optim.Optimizer]) -> None:
        self.pieces *= 2
        if self.pieces > self.stage.recipe.chunk:
            raise torch.OutOfMemoryError("not even one image fits the device's memory")
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.tower.block.give_up()
        torch.cuda.empty_cache()
        self.stage.log(f"out of memory: steps in {self.pieces} pieces, not compiled")

    def _gradients(self, sample: Sample, with_figures: bool) -> dict[str, Tensor]:
        count = len(sample.arrays["frame"])
        figures: dict[str, Tensor] = {}
        for piece in range(self.pieces):
            first, last = count * piece // self.pieces, count * (piece + 1) // self.pieces
            losses, figures = self._losses(sample, first, last, with_figures)
            torch.stack([WEIGHTS[name] * loss for name, loss in losses.items()]).sum().div(self.pieces).backward()
            figures = {name: loss.detach() for name, loss in losses.items()} | figures
        return figures

    def _losses(
        self, sample: Sample, first: int, last: int, with_figures: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses by name, and how often letters and tokens are right."""
        seen, out = self.tower(self.canvas.draw(sample, first, last))
        letters = sample.tensors["letters"][first:last].flatten().long() + 1
        said = F.linear(seen, self.head.weight.to(seen.dtype), self.head.bias.to(seen.dtype))
        said = said.reshape(-1, len(CHARACTERS) + 1).float()
        tokens = sample.arrays["tokens"][first:last].reshape(-1)
        places, empty = np.flatnonzero(tokens >= 0), np.flatnonzero(tokens == -1)
        wanted = on_device(tokens[places].astype(np.int64), self.device)
        flat = out.flatten(0, 1)
        named = flat[on_device(places, self.device)].float()
        cosines = (F.normalize(named, dim=-1).to(self.directions.dtype) @ self.directions.T).float()
        losses = {
            "letters": F.cross_entropy(said, letters, weight=self.weight),
            "tokens": F.cross_entropy(cosines * self.sharpness.exp(), wanted),
            "near": (named - self.embeddings[wanted]).pow(2).sum(-1).mean() / 10,
            "blank": flat[on_device(empty, self.device)].float().pow(2).sum(-1).mean() / 10,
        }
        if not with_figures:
            return losses, {}
        with torch.no_grad():
            there = letters > 0
            right = (said.argmax(-1) == letters)[there].float().mean()
            return losses, {
                "letters right": right,
                "tokens right": (cosines.argmax(-1) == wanted).float().mean(),
                "sharpness": self.sharpness.detach().exp(),
            }
