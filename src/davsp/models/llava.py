"""LLaVA-1.5 and every checkpoint of its Hugging Face class."""

from __future__ import annotations

import torch
from torch import Tensor

from davsp.models.base import VisionLanguageModel


class Llava(VisionLanguageModel):
    """One square image of fixed size; every patch is one image token."""

    family = "llava"

    @property
    def canvas(self) -> tuple[int, int]:
        side = int(self.model.config.vision_config.image_size)
        return side, side

    @property
    def patch(self) -> int:
        return int(self.model.config.vision_config.patch_size)

    def pack(self, pixels: Tensor) -> dict[str, Tensor]:
        image = self.processor.image_processor
        mean, std = (
            torch.tensor(values, device=pixels.device)[:, None, None] for values in (image.image_mean, image.image_std)
        )
        return {"pixel_values": ((pixels - mean) / std).to(self.model.dtype)}

    def expand_image(self, prompt: str) -> str:
        height, width = self.canvas
        patches = (height // self.patch) * (width // self.patch)
        class_token = self.model.config.vision_feature_select_strategy == "full"
        return prompt.replace(self.image_token, self.image_token * (patches + class_token))
