"""LLaVA-NeXT (LLaVA-1.6): the whole image in small, then its tiles."""

from __future__ import annotations

import torch
from torch import Tensor

from davsp.imaging.canvas import TiledCanvas
from davsp.imaging.pixels import Pixels
from davsp.models.base import VisionLanguageModel
from davsp.models.tiles import overview, pad_tiles, split_tiles


class LlavaNext(VisionLanguageModel):
    """One of the checkpoint's list of sizes, each a grid of tiles."""

    family = "llava_next"

    @property
    def tile(self) -> int:
        return int(self.processor.image_processor.crop_size["height"])

    @property
    def canvas(self) -> TiledCanvas:
        sizes = self.processor.image_processor.image_grid_pinpoints
        return TiledCanvas(self.tile, tuple((int(h), int(w)) for h, w in sizes))

    @property
    def grid(self) -> int:
        return int(self.model.config.vision_config.patch_size)

    @property
    def image_in_text(self) -> str:
        return f"{self.image_token}\n"

    def pack(self, pixels: Pixels) -> dict[str, Tensor]:
        resample = self.processor.image_processor.resample
        views = [
            self.normalise(torch.cat([overview(p, self.tile, resample), split_tiles(p, self.tile)])) for p in pixels
        ]
        sizes = torch.tensor([p.shape[1:] for p in pixels], device=self.device)
        return {"pixel_values": pad_tiles(views), "image_sizes": sizes}
