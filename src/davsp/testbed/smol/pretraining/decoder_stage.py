"""The decoder learns to use what the tower sees: its LoRA, with the tower or alone."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from davsp.testbed.smol.pretraining.canvas import Canvas
from davsp.testbed.smol.pretraining.language import Language
from davsp.testbed.smol.pretraining.samples import DOUBLE, LENGTHS, PATCHES, SINGLE, TEXT
from davsp.testbed.smol.pretraining.stage import Stage, memory
from davsp.testbed.smol.pretraining.tower import Tower
from davsp.testbed.smol.pretraining.workers import Sample, Supply, on_device
from davsp.util.failures import reason

SURE = 1.2
"""Answers of more weight than this are either right or wrong, and counted in the log."""


@dataclass
class DecoderStage:
    """`opening`: how many tokens come before an image; `number`: of samples.DECODER or REFUSING; `with_tower`: whether
    tower and projector are trained too."""

    tower: Tower
    language: Language
    canvas: Canvas
    supply: Supply
    stage: Stage
    opening: int
    number: int
    lora_rate: float
    with_tower: bool
    pieces: int = 1

    def compile(self) -> None:
        """Compile the decoder's layers with samples of the stage, and see that they run; else they stay as they are."""
        begun = time.monotonic()
        self.language.block.compile()
        self.supply.switch(self.number)
        sample = self.supply.take()
        try:
            self._gradients(sample, with_figures=False)
        except Exception as error:  # whatever a compiler says: nothing depends on it
            self.language.block.give_up()
            self.stage.log(f"the decoder is not compiled: {reason(error)[:200]}")
        self.tower.zero_grad(set_to_none=True)
        self.language.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.empty_cache()
        self.stage.log(f"compiled: {self.language.block.is_compiled}, {time.monotonic() - begun:.0f} s")

    @property
    def device(self) -> torch.device:
        return self.language.embeddings.device

    def run(self) -> None:
        """Train until the stage is over."""
        stage, recipe = self.stage, self.stage.recipe
        lora, tower = list(self.language.parameters()), list(self.tower.parameters()) if self.with_tower else []
        groups = [{"params": lora, "highest": self.lora_rate}]
        if tower:
            groups.append({"params": tower, "highest": recipe.tower_rate_beside})
        fused = self.device.type == "cuda"
        optimizer = torch.optim.AdamW(groups, lr=self.lora_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=fused)
        self.supply.switch(self.number)
        sample = self.supply.take()
        stage.begin()
        while not stage.is_over:
            stage.set_rates([optimizer])
            is_due = stage.is_due
            try:
                figures = self._gradients(sample, is_due)
            except torch.OutOfMemoryError:
                self._halve(optimizer)
                continue
            nn.utils.clip_grad_norm_([*lora, *tower], 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            stage.step_done(sum(len(sample.arrays[f"{group}_tokens"]) for group in LENGTHS))
            if is_due:
                reuse = f"{self.supply.laid_out} laid out, {self.supply.taken} taken {memory(self.device)}"
                stage.line(figures, reuse)
            sample = self.supply.take()

    def _halve(self, optimizer: torch.optim.Optimizer) -> None:
        self.pieces *= 2
        if self.pieces > self.stage.recipe.double_rows:
            raise torch.OutOfMemoryError("not even one sequence fits the device's memory")
        optimizer.zero_grad(set_to_none=True)
        self.language.block.give_up()
        torch.cuda.empty_cache()
        self.stage.log(f"out of memory: steps in {self.pieces} pieces, not compiled")

    def _gradients(self, sample: Sample, with_figures: bool) -> dict[str, Tensor]:
        total = float(sum(sample.arrays[f"{group}_weights"].sum() for group in LENGTHS))
        figures: dict[str, Tensor] = {}
        whole = torch.zeros((), device=self.device)
        for piece in range(self.pieces):
            rows = {
                group: tuple(len(sample.arrays[f"{group}_tokens"]) * (piece + i) // self.pieces for i in range(2))
                for group in LENGTHS
            }
            losses, hidden, wanted, weights = self._answered(sample, rows)
            loss = (losses * weights).sum() / total
            loss.backward()
            whole += loss.detach()
            if with_figures:
                sure = weights > SURE
                with torch.no_grad():
                    right = self.language.logits(hidden).argmax(-1) == wanted
                    figures = {
                        "exact right": right[sure].float().mean(),
                        "free right": right[~sure].float().mean(),
                        "exact": losses.detach()[sure].mean(),
                        "free": losses.detach()[~sure].mean(),
                    }
        return {"loss": whole} | figures

    def _answered(self, sample: Sample, rows: dict[str, tuple[int, ...]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of some rows of each group: losses of the tokens of answers, hidden states before them, themselves and their
        weights."""
        images = len(sample.arrays[f"{SINGLE}_tokens"])
        parts = [
            self.canvas.draw(sample, first + offset, last + offset)
            for offset, (first, last) in ((0, rows[SINGLE]), (images, rows[DOUBLE]))
            if last > first
        ]
        with torch.set_grad_enabled(self.with_tower):
            _, seen = self.tower(torch.cat(parts))
        if not self.with_tower:
            seen = seen.requires_grad_()  # as in the stage before, so that what was compiled for that serves this too
        embedded, places, wanted, weights = [], [], [], []
        start, used = 0, 0
        for group in (SINGLE, DOUBLE, TEXT):
            first, last = rows[group]
            count = last - first
            tokens = self.language.embed(sample.tensors[f"{group}_tokens"][first:last].long())
            if group != TEXT:
                after = self.opening + PATCHES
                own = seen[used : used + count].to(tokens.dtype)
                tokens = torch.cat([tokens[:, : self.opening], own, tokens[:, after:]], dim=1)
                used += count
            embedded.append(tokens)
            labels = sample.arrays[f"{group}_labels"][first:last]
            row, column = np.nonzero(labels >= 0)
            places.append(start + row * LENGTHS[group] + column - 1)
            wanted.append(labels[row, column].astype(np.int64))
            weights.append(sample.arrays[f"{group}_weights"][first:last][row, column])
            start += count * LENGTHS[group]
        hidden = self.language(embedded)[on_device(np.concatenate(places), self.device)]
        aims = on_device(np.concatenate(wanted), self.device)
        losses = F.cross_entropy(self.language.logits(hidden).float(), aims, reduction="none")
        return losses, hidden.detach(), aims, on_device(np.concatenate(weights), self.device)
