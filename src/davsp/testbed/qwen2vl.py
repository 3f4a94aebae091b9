"""The testbed's Qwen2-VL: an ordinary `Qwen2VLForConditionalGeneration` (rotary tower that merges patches), small."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from davsp.models.processors import without_video
from davsp.models.qwen import merged_patches
from davsp.testbed.architecture import Architecture, build_tokenizer, chat_template, cosine_filters
from davsp.testbed.scenes import Size
from davsp.util.files import write_json, write_text

PATCH, MERGE, TIMES = 8, 2, 2
SIDE = PATCH * MERGE
IMAGE, START, END, VIDEO = "<|image_pad|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>"
PIXELS = (3 * SIDE) ** 2, (9 * SIDE) ** 2
"""Images of fewer pixels are enlarged, of more are shrunk."""
MAX_LENGTH = 192


def attention_within_each(
    module: nn.Module,  # noqa: ARG001 - transformers' interface
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,  # noqa: ARG001
    scaling: float,
    max_length_q: int,
    **others: object,  # noqa: ARG001
) -> tuple[Tensor, None]:
    """Attention within each of many images of one size, a few at a time (transformers takes them one by one).

    query, key, value: (1, heads, images * patches, width); patches is `max_length_q`. Returns (1, images * patches,
    heads, width).
    """
    queries, keys, values = (
        torch.split(t.reshape(t.shape[1], -1, max_length_q, t.shape[-1]).transpose(0, 1), AT_ONCE)
        for t in (query * scaling, key, value)
    )
    chunks = zip(queries, keys, values, strict=True)
    attended = [torch.softmax(q @ k.transpose(-1, -2), dim=-1) @ v for q, k, v in chunks]
    return torch.cat(attended).transpose(1, 2).flatten(0, 1).unsqueeze(0), None


# A name with "flash" in it is handed all images of a batch together.
ATTENTION = "flash_within_each"
AT_ONCE = 8
"""So many images' attention weights stay in a processor's cache."""
AttentionInterface.register(ATTENTION, attention_within_each)


class TestbedQwen2VL(Architecture):
    """About 3 million parameters; images of any size, every 16 x 16 pixels (2 x 2 patches) one token."""

    __test__ = False  # not a test class, whatever pytest makes of its name
    name = "qwen2vl"
    description = "rotary tower of 3 layers that merges 2 x 2 patches, Qwen2 decoder of 6"
    token_side = SIDE
    image_side = 112
    canvases = ((112, 112),) * 7 + ((144, 144),) * 3 + ((144, 112), (112, 144))

    model: Qwen2VLForConditionalGeneration

    def __init__(self, seed: int) -> None:
        self.processor = self.build_processor()
        words = self.processor.tokenizer
        vision = {
            "embed_dim": 128,
            "hidden_size": 160,
            "depth": 3,
            "num_heads": 4,
            "mlp_ratio": 4,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": TIMES,
        }
        text = {
            "vocab_size": len(words),
            "hidden_size": 160,
            "intermediate_size": 640,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": MAX_LENGTH,
            "rope_parameters": {"rope_type": "default", "mrope_section": [4, 8, 8], "rope_theta": 1e4},
            "pad_token_id": words.pad_token_id,
            "bos_token_id": words.bos_token_id,
            "eos_token_id": words.eos_token_id,
        }
        tokens = {"image": IMAGE, "video": VIDEO, "vision_start": START, "vision_end": END}
        config = Qwen2VLConfig(
            vision_config=vision,
            text_config=text,
            attn_implementation="eager",
            **{f"{name}_token_id": words.convert_tokens_to_ids(token) for name, token in tokens.items()},
        )
        torch.manual_seed(seed)
        self.model = Qwen2VLForConditionalGeneration(config)
        self.model.model.visual.config._attn_implementation = ATTENTION
        filters = self.model.model.visual.patch_embed.proj.weight
        with torch.no_grad():
            # An image is a film of TIMES equal pictures.
            filters.copy_(cosine_filters(PATCH, len(filters))[:, :, None].expand_as(filters) / TIMES)

    @classmethod
    def build_processor(cls) -> Qwen2VLProcessor:
        words = build_tokenizer(MAX_LENGTH, IMAGE, vision_start_token=START, vision_end_token=END, video_token=VIDEO)
        pixels = Qwen2VLImageProcessorPil(
            patch_size=PATCH,
            merge_size=MERGE,
            temporal_patch_size=TIMES,
            size={"shortest_edge": PIXELS[0], "longest_edge": PIXELS[1]},
        )
        processor: Qwen2VLProcessor = without_video(Qwen2VLProcessor)(pixels, words, None)
        processor.chat_template = chat_template(START + IMAGE + END)
        return processor

    @classmethod
    def image_text(cls, canvas: Size) -> str:
        return START + IMAGE * (canvas[0] // SIDE * (canvas[1] // SIDE)) + END

    @property
    def feature_width(self) -> int:
        return int(self.model.config.vision_config.embed_dim) * MERGE**2

    @property
    def tower(self) -> list[nn.Parameter]:
        visual = self.model.model.visual
        return [*visual.patch_embed.parameters(), *visual.blocks.parameters()]

    @property
    def projector(self) -> nn.Module:
        projector: nn.Module = self.model.model.visual.merger
        return projector

    def encode(self, pixels: Tensor) -> Tensor:
        batch, _, height, width = pixels.shape
        patches = merged_patches(pixels, PATCH, MERGE, TIMES)
        features: Tensor = self.model.model.visual(patches, self._grids(batch, (height, width))).last_hidden_state
        return features.reshape(batch, -1, self.feature_width)

    def project(self, features: Tensor) -> Tensor:
        embeddings: Tensor = self.projector(features.reshape(-1, features.shape[-1] // MERGE**2))
        return embeddings.reshape(*features.shape[:2], -1)

    def save_processor(self, folder: Path) -> None:
        # A processor without its video processor cannot save itself: its parts, as published checkpoints have them.
        self.processor.image_processor.save_pretrained(folder)
        self.processor.tokenizer.save_pretrained(folder)
        write_text(folder / "chat_template.jinja", self.processor.chat_template)
        write_json(folder / "processor_config.json", {"processor_class": "Qwen2VLProcessor"})

    def positions(self, ids: Tensor, canvas: Size) -> Tensor:
        image_tokens = (ids == self.image_token_id).int()
        positions: Tensor = self.model.model.get_rope_index(ids, image_tokens, self._grids(len(ids), canvas))[0]
        return positions

    def _grids(self, batch: int, canvas: Size) -> Tensor:
        return torch.tensor([[1, canvas[0] // PATCH, canvas[1] // PATCH]] * batch)
