"""InternVL 2.5 and 3 in their Hugging Face class: tiles, then the whole image in small."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import (
    get_all_supported_aspect_ratios,
    get_optimal_tiled_canvas,
)

from davsp.imaging.canvas import Canvas, FixedCanvas, TiledCanvas
from davsp.imaging.pixels import Pixels
from davsp.models.base import VisionLanguageModel
from davsp.models.tiles import split_tiles_with_overview


class InternVL(VisionLanguageModel):
    """A grid of `min_patches` to `max_patches` tiles. Whether to cut any is what transformers' processor says, which
    always does, and not the `crop_to_patches` of the checkpoint's image processor, which it overrides."""

    family = "internvl"

    @property
    def tile(self) -> int:
        return int(self.processor.image_processor.size["height"])

    @property
    def canvas(self) -> Canvas:
        image, tile = self.processor.image_processor, self.tile
        if image.max_patches == 1:
            return FixedCanvas(tile, tile)
        return _tiles(tile, image.min_patches, image.max_patches)

    @property
    def grid(self) -> int:
        """A token covers several patches, as `downsample_ratio` says."""
        patch = self.model.config.vision_config.patch_size
        side = patch[0] if isinstance(patch, list | tuple) else patch
        return int(side / self.model.config.downsample_ratio)

    @property
    def image_in_text(self) -> str:
        return f"{self.image_token}\n"

    def _image_inputs(self, blank: Image.Image) -> dict[str, Any]:
        return dict(self.processor.image_processor([blank], return_tensors="np", crop_to_patches=True))

    def pack(self, pixels: Pixels) -> dict[str, Tensor]:
        resample = self.processor.image_processor.resample
        return {
            "pixel_values": torch.cat(
                [self.normalise(split_tiles_with_overview(p, self.tile, resample)) for p in pixels]
            )
        }


@cache
def _tiles(tile: int, least: int, most: int) -> TiledCanvas:
    """The grids of so many tiles that the processor keeps: it enlarges some, such as 3 x 3 tiles to 4 x 4."""
    grids = sorted((rows, columns) for columns, rows in get_all_supported_aspect_ratios(least, most))
    sizes = [(rows * tile, columns * tile) for rows, columns in grids]
    kept = [s for s in sizes if get_optimal_tiled_canvas(s, (tile, tile), least, most) == (s[1] // tile, s[0] // tile)]
    return TiledCanvas(tile, tuple(kept))
