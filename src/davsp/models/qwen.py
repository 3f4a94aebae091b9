"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: images of any size on a grid of merged patches."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from davsp.errors import ModelError
from davsp.imaging.canvas import GridCanvas
from davsp.imaging.pixels import Pixels
from davsp.models.base import VisionLanguageModel


class Qwen2VL(VisionLanguageModel):
    """Any size on the grid; a square of merged patches is one image token."""

    family = "qwen2_vl"

    @property
    def canvas(self) -> GridCanvas:
        size = self.processor.image_processor.size
        least, most = size["shortest_edge"], size["longest_edge"]
        if not 0 < least <= most:
            raise ModelError(
                f"{self.name}: its image processor takes images of at least {least} and at most {most} pixels in all, "
                "and no image is both: correct min_pixels and max_pixels (or size) in preprocessor_config.json."
            )
        return GridCanvas(self.grid, least, most)

    @property
    def grid(self) -> int:
        image = self.processor.image_processor
        return int(image.patch_size * image.merge_size)

    @property
    def image_in_text(self) -> str:
        config, name = self.model.config, self.tokenizer.convert_ids_to_tokens
        return f"{name(config.vision_start_token_id)}{self.image_token}{name(config.vision_end_token_id)}"

    def pack(self, pixels: Pixels) -> dict[str, Tensor]:
        patch = self.processor.image_processor.patch_size
        grids = [[1, p.shape[1] // patch, p.shape[2] // patch] for p in pixels]
        return {
            "pixel_values": torch.cat([self._patches(p) for p in pixels]),
            "image_grid_thw": torch.tensor(grids, device=self.device),
        }

    def _patches(self, pixels: Tensor) -> Tensor:
        image = self.processor.image_processor
        return merged_patches(
            self.normalise(pixels)[None], image.patch_size, image.merge_size, image.temporal_patch_size
        )

    def token_inputs(self, ids: Tensor, prompt: Tensor, packed: dict[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG002
        return {"mm_token_type_ids": (ids == self.model.config.image_token_id).int()}


def merged_patches(pixels: Float[Tensor, "b 3 h w"], patch: int, merge: int, time: int) -> Float[Tensor, "n width"]:
    """Images as flat patches, those that are merged side by side, each `time` times over: (N, 3 * time * P * P)."""
    rows, columns = (side // (patch * merge) for side in pixels.shape[2:])
    patches = pixels.reshape(-1, 3, rows, merge, patch, columns, merge, patch).permute(0, 2, 5, 3, 6, 1, 4, 7)
    return patches.unsqueeze(6).expand(*patches.shape[:6], time, patch, patch).reshape(-1, 3 * time * patch**2)


class Qwen25VL(Qwen2VL):
    family = "qwen2_5_vl"


class Qwen3VL(Qwen2VL):
    family = "qwen3_vl"
