"""Mllama (Llama 3.2 Vision): tiles that the decoder reaches by cross-attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from davsp.imaging.canvas import TiledCanvas
from davsp.imaging.pixels import Pixels
from davsp.models.base import VisionLanguageModel
from davsp.models.tiles import by_conversation, pad_tiles, split_tiles


class Mllama(VisionLanguageModel):
    """A grid of at most `max_image_tiles` tiles; an image is a single token of the prompt."""

    family = "mllama"

    @property
    def tile(self) -> int:
        return int(self.processor.image_processor.size["height"])

    @property
    def canvas(self) -> TiledCanvas:
        most = range(1, self.processor.image_processor.max_image_tiles + 1)
        grids = [(r, c) for r in most for c in most if r * c <= most[-1]]
        return TiledCanvas(self.tile, tuple((r * self.tile, c * self.tile) for r, c in grids))

    @property
    def grid(self) -> int:
        return int(self.model.config.vision_config.patch_size)

    @property
    def first_seeing_layer(self) -> int:
        """That of the first cross-attention block."""
        return int(min(self.model.config.text_config.cross_attention_layers)) + 1

    def layer_without_images(self, layer: int) -> int:
        """Without images, cross-attention blocks are left out."""
        left_out = self.model.config.text_config.cross_attention_layers
        return next(k for k in range(layer, -1, -1) if k - 1 not in left_out)

    def pack(self, pixels: Pixels) -> dict[str, Tensor]:
        most = self.processor.image_processor.max_image_tiles
        sizes = self.canvas.sizes
        views = [self.normalise(split_tiles(p, self.tile)) for p in pixels]
        full = views[0].new_zeros(most, *views[0].shape[1:])
        # The model numbers the grids of tiles in the order of the canvas's sizes, from 1.
        numbers = [[sizes.index((p.shape[1], p.shape[2])) + 1] for p in pixels]
        counts = torch.tensor([len(v) for v in views], device=self.device)
        return {
            "pixel_values": pad_tiles([*views, full])[:-1].unsqueeze(1),
            "aspect_ratio_ids": torch.tensor(numbers, device=self.device),
            "aspect_ratio_mask": (torch.arange(most, device=self.device) < counts[:, None]).long().unsqueeze(1),
        }

    def arrange(self, packed: dict[str, Tensor], images: Sequence[int]) -> dict[str, Tensor]:
        """The images of a conversation in one row; where there is none, a grid without a number, of one empty tile."""
        ones = [1] * sum(images)
        arranged = {name: by_conversation(values, ones, images) for name, values in packed.items()}
        arranged["aspect_ratio_mask"][..., 0] = 1
        return arranged

    def token_inputs(self, ids: Tensor, prompt: Tensor, packed: dict[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG002
        """Which tiles a token attends to, int64 (B, T, images, tiles): those of the image before it, and of the images
        that stand together with that one."""
        marks = ids == self.model.config.image_token_index
        most = packed["aspect_ratio_mask"].shape[1]
        number = marks.cumsum(1)  # of the images so far, at each token
        # An image belongs to the group of the last one that stands directly after it, and so on.
        follows = torch.zeros_like(marks)
        follows[:, 1:] = marks[:, 1:] & marks[:, :-1]
        group = (marks & ~follows).cumsum(1)
        seen = torch.stack(
            [
                (number >= image) & (group == (group * (marks & (number == image))).sum(1, keepdim=True))
                for image in range(1, most + 1)
            ],
            dim=2,
        )
        return {"cross_attention_mask": seen[..., None].long() * packed["aspect_ratio_mask"][:, None]}
