"""InternVL 2.5 and 3 in their Hugging Face class: tiles, then the whole image in small."""

from __future__ import annotations

import torch
from torch import Tensor

from davsp.imaging.canvas import Canvas, FixedCanvas, TiledCanvas
from davsp.imaging.pixels import Pixels
from davsp.models.base import VisionLanguageModel
from davsp.models.tiles import split_tiles_with_overview


class InternVL(VisionLanguageModel):
    """A grid of at most `max_patches` tiles; a single tile where the checkpoint cuts none."""

    family = "internvl"

    @property
    def tile(self) -> int:
        return int(self.processor.image_processor.size["height"])

    @property
    def canvas(self) -> Canvas:
        image, tile = self.processor.image_processor, self.tile
        if not image.crop_to_patches or image.max_patches == 1:
            return FixedCanvas(tile, tile)
        counts = range(1, image.max_patches + 1)
        grids = [(r, c) for r in counts for c in counts if image.min_patches <= r * c <= image.max_patches]
        return TiledCanvas(tile, tuple((r * tile, c * tile) for r, c in grids))

    @property
    def grid(self) -> int:
        """A token covers several patches, as `downsample_ratio` says."""
        patch = self.model.config.vision_config.patch_size
        side = patch[0] if isinstance(patch, list | tuple) else patch
        return int(side / self.model.config.downsample_ratio)

    @property
    def image_in_text(self) -> str:
        return f"{self.image_token}\n"

    def pack(self, pixels: Pixels) -> dict[str, Tensor]:
        resample = self.processor.image_processor.resample
        return {
            "pixel_values": torch.cat(
                [self.normalise(split_tiles_with_overview(p, self.tile, resample)) for p in pixels]
            )
        }
