"""Sketches drawn on the device: paper, pictures, letters, and what hides the margins of a few."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from davsp.testbed.smol.pretraining.layout import BOX, CORNER, PATCH, SIDE
from davsp.testbed.smol.pretraining.workers import Sample

SMALL = 56
"""Pictures of fewer pixels a side are drawn from ones of half the size, so that nothing flickers."""


class Canvas:
    """Draws sketches. `glyphs`: uint8 (glyphs, BOX, BOX); `pictures`: uint8 (pictures, width, width, 4)."""

    def __init__(self, glyphs: Tensor, pictures: Tensor, device: torch.device, seed: int) -> None:
        self.device = device
        self._glyphs = glyphs.to(device)
        large = pictures.to(device).permute(0, 3, 1, 2).float() / 255
        large = torch.cat([large[:, :3] * large[:, 3:], large[:, 3:]], dim=1)  # nothing shines through a clear pixel
        self._pictures, self._small = large, F.avg_pool2d(large, 2)
        self._generator = torch.Generator(device=device)
        self._generator.manual_seed(seed)
        self._margin = torch.ones(1, 1, SIDE, SIDE, device=device)
        self._margin[..., PATCH:-PATCH, PATCH:-PATCH] = 0
        self._rows = torch.arange(SIDE, device=device).view(1, 1, SIDE, 1)
        self._across = torch.arange(BOX, device=device) - CORNER[0]
        self._down = torch.arange(BOX, device=device) - CORNER[1]

    @torch.no_grad()
    def draw(self, sample: Sample, first: int, last: int) -> Tensor:
        """float32 (last - first, 3, SIDE, SIDE) in 0..1: the images of a sample from `first` on."""
        count = last - first
        colours = sample.tensors["colours"][first:last].float() / 255
        paper, ink, upper = (colours[:, i, :, None, None] for i in range(3))
        split = sample.tensors["split"][first:last].view(-1, 1, 1, 1)
        blobs, noise, blur = (sample.tensors["strengths"][first:last, i].view(-1, 1, 1, 1) for i in range(3))
        image = torch.where(self._rows < split, upper, paper)
        image = image + blobs * (self._blobs(count, 4) - 0.5) + noise * (self._random(count, 3, SIDE, SIDE) - 0.5)
        covered = self._draw_pictures(sample, first, last)
        image = image.clamp(0, 1) * (1 - covered[:, 3:]) + covered[:, :3]
        letters = self._draw_letters(sample, first, last)
        letters = letters * (1 - blur) + F.avg_pool2d(letters, 3, 1, 1) * blur
        image = image * (1 - letters) + ink * letters
        self._hide_margins(image, sample.arrays["frame"][first:last])
        return (image + (self._random(count, 3, SIDE, SIDE) - 0.5) / 255).clamp_(0, 1)

    def _random(self, *shape: int) -> Tensor:
        return torch.rand(*shape, device=self.device, generator=self._generator)

    def _blobs(self, count: int, cells: int) -> Tensor:
        coarse = self._random(count, 3, cells, cells)
        return F.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear", align_corners=False)

    def _draw_letters(self, sample: Sample, first: int, last: int) -> Tensor:
        """float32 (last - first, 1, SIDE, SIDE): how much of each pixel is ink."""
        ends = sample.arrays["glyph_ends"]
        start, stop = (int(ends[first - 1]) if first else 0), int(ends[last - 1])
        rows = (
            torch.searchsorted(sample.tensors["glyph_ends"], torch.arange(start, stop, device=self.device), right=True)
            - first
        )
        y = sample.tensors["top"][start:stop].long()[:, None] + self._down
        x = sample.tensors["left"][start:stop].long()[:, None] + self._across
        inside = ((y >= 0) & (y < SIDE))[:, :, None] & ((x >= 0) & (x < SIDE))[:, None, :]
        places = (rows * (SIDE * SIDE))[:, None, None] + (y.clamp(0, SIDE - 1) * SIDE)[:, :, None]
        places = places + x.clamp(0, SIDE - 1)[:, None, :]
        values = self._glyphs[sample.tensors["glyphs"][start:stop].long()].int() * inside
        drawn = torch.zeros((last - first) * SIDE * SIDE, dtype=values.dtype, device=self.device)
        drawn.scatter_reduce_(0, places.flatten(), values.flatten(), "amax")
        return drawn.view(last - first, 1, SIDE, SIDE).float() / 255

    def _draw_pictures(self, sample: Sample, first: int, last: int) -> Tensor:
        """float32 (last - first, 4, SIDE, SIDE): the pictures' colours, times how much they cover, and that."""
        ends = sample.arrays["picture_ends"]
        start, stop = (int(ends[first - 1]) if first else 0), int(ends[last - 1])
        drawn = torch.zeros(last - first, 4, SIDE, SIDE, device=self.device)
        if start == stop:
            return drawn
        row, left, top, width, number = sample.tensors["pictures"][start:stop].unbind(1)
        theta = torch.zeros(stop - start, 2, 3, device=self.device)
        theta[:, 0, 0] = theta[:, 1, 1] = SIDE / width
        theta[:, 0, 2] = (SIDE - 2 * left - width) / width
        theta[:, 1, 2] = (SIDE - 2 * top - width) / width
        grid = F.affine_grid(theta, [stop - start, 4, SIDE, SIDE], align_corners=False)
        which = number.long()
        large = F.grid_sample(self._pictures[which], grid, align_corners=False)
        small = F.grid_sample(self._small[which], grid, align_corners=False)
        pixels = torch.where((width < SMALL).view(-1, 1, 1, 1), small, large)
        return drawn.index_add_(0, row.long() - first, pixels)

    def _hide_margins(self, image: Tensor, kinds: np.ndarray) -> None:
        """Cover the outer patches of the images that have a frame: with a colour, noise, soft or hard blobs."""
        for kind in range(1, 5):
            rows = np.flatnonzero(kinds == kind)
            if not len(rows):
                continue
            count = len(rows)
            if kind == 1:
                cover = self._random(count, 3, 1, 1).expand(-1, -1, SIDE, SIDE)
            elif kind == 2:
                cover = self._random(count, 3, SIDE, SIDE)
            else:
                cover = self._blobs(count, 4 if kind == 3 else 28)
                cover = cover if kind == 3 else (cover > 0.5).float()
            which = torch.from_numpy(rows).to(self.device)
            image[which] = image[which] * (1 - self._margin) + cover * self._margin
