"""LLaVA-1.5 and every checkpoint of its Hugging Face class."""

from __future__ import annotations

from torch import Tensor

from davsp.imaging.canvas import FixedCanvas
from davsp.imaging.pixels import Pixels, as_batch
from davsp.models.base import VisionLanguageModel


class Llava(VisionLanguageModel):
    """One square image of fixed size; every patch is one image token."""

    family = "llava"

    @property
    def canvas(self) -> FixedCanvas:
        side = int(self.model.config.vision_config.image_size)
        return FixedCanvas(side, side)

    @property
    def grid(self) -> int:
        return int(self.model.config.vision_config.patch_size)

    @property
    def image_in_text(self) -> str:
        return f"{self.image_token}\n"

    def pack(self, pixels: Pixels) -> dict[str, Tensor]:
        return {"pixel_values": self.normalise(as_batch(pixels))}
