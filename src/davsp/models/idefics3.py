"""Idefics3 and SmolVLM: tiles, then the whole image in small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from davsp.errors import ModelError
from davsp.imaging.canvas import TiledCanvas
from davsp.imaging.pixels import Pixels
from davsp.models.base import VisionLanguageModel
from davsp.models.tiles import by_conversation, pad_tiles, split_tiles_with_overview


class Idefics3(VisionLanguageModel):
    """The longer side always has as many tiles as the checkpoint says, the shorter one as many or fewer."""

    family = "idefics3"

    @property
    def tile(self) -> int:
        return int(self.processor.image_processor.max_image_size["longest_edge"])

    @property
    def canvas(self) -> TiledCanvas:
        image, tile = self.processor.image_processor, self.tile
        longest = int(image.size["longest_edge"])
        if not image.do_image_splitting or longest % tile:
            raise ModelError(
                f"{self.name}: its image processor must cut images (do_image_splitting) into whole tiles; it has "
                f"longest_edge {longest} and tiles of {tile}: set do_image_splitting to true and longest_edge to a "
                "multiple of the tile in preprocessor_config.json."
            )
        shorter = range(tile, longest + 1, tile)
        return TiledCanvas(tile, (*((longest, s) for s in shorter), *((s, longest) for s in shorter if s < longest)))

    @property
    def grid(self) -> int:
        """A token covers `scale_factor` patches each way."""
        return int(self.model.config.vision_config.patch_size * self.model.config.scale_factor)

    def _image_inputs(self, blank: Image.Image) -> dict[str, Any]:
        return dict(self.processor.image_processor([[blank]], return_tensors="np", return_row_col_info=True))

    def pack(self, pixels: Pixels) -> dict[str, Tensor]:
        resample = self.processor.image_processor.resample
        views = [self.normalise(split_tiles_with_overview(p, self.tile, resample)) for p in pixels]
        values = pad_tiles(views)
        used = torch.arange(values.shape[1], device=self.device) < torch.tensor(
            [[len(v)] for v in views], device=self.device
        )
        mask = used[..., None, None].expand(*used.shape, self.tile, self.tile).long()
        return {"pixel_values": values, "pixel_attention_mask": mask}

    def arrange(self, packed: dict[str, Tensor], images: Sequence[int]) -> dict[str, Tensor]:
        """All tiles of a conversation in one row."""
        counts = packed["pixel_attention_mask"][:, :, 0, 0].sum(1).tolist()
        return {name: by_conversation(values, counts, images) for name, values in packed.items()}


class SmolVLM(Idefics3):
    family = "smolvlm"
