"""What a model gets to see, caught where transformers begins to write its answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from davsp.models.base import VisionLanguageModel


@contextmanager
def what_reaches(model: VisionLanguageModel) -> Iterator[list[tuple[Tensor, str]]]:
    """Image and text of each row of every call of `generate`: pixels in [0, 1], float32 (3, H, W), and the tokens
    joined by spaces. For families whose images reach the model as `pixel_values` (B, 3, H, W), also from models that
    are loaded meanwhile."""
    seen: list[tuple[Tensor, str]] = []
    images = model.processor.image_processor
    mean, std = (torch.tensor(values)[:, None, None] for values in (images.image_mean, images.image_std))
    kind = type(model.model)
    original = kind.generate

    def generate(self: Any, *arguments: Any, **inputs: Any) -> Any:
        for pixels, ids in zip(inputs["pixel_values"], inputs["input_ids"], strict=True):
            words = [token for token in ids.tolist() if token not in model.tokenizer.all_special_ids]
            seen.append((pixels.float().cpu() * std + mean, " ".join(model.tokenizer.decode([w]) for w in words)))
        return original(self, *arguments, **inputs)

    with patch.object(kind, "generate", generate):
        yield seen
