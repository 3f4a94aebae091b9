"""The testbed's LLaVA: an ordinary `LlavaForConditionalGeneration` (CLIP tower, Llama decoder), small."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from davsp.testbed.architecture import Architecture, build_tokenizer, chat_template, cosine_filters, sine_cosine_grid
from davsp.testbed.scenes import SIZE, Size

CANVAS = 112
PATCH = 14
MAX_LENGTH = 192
IMAGE = "<image>"


class TestbedLlava(Architecture):
    """About 3.9 million parameters; images of 112 px in 8 x 8 patches, of which each becomes one token."""

    __test__ = False  # not a test class, whatever pytest makes of its name
    name = "llava"
    description = "CLIP tower of 5 layers, Llama decoder of 6"
    token_side = PATCH
    image_side = SIZE
    canvases = ((CANVAS, CANVAS),)

    model: LlavaForConditionalGeneration

    def __init__(self, seed: int) -> None:
        self.processor = self.build_processor()
        words = self.processor.tokenizer
        vision = CLIPVisionConfig(
            hidden_size=144,
            intermediate_size=576,
            num_hidden_layers=5,
            num_attention_heads=4,
            image_size=CANVAS,
            patch_size=PATCH,
            projection_dim=144,
        )
        text = LlamaConfig(
            vocab_size=len(words),
            hidden_size=160,
            intermediate_size=640,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=MAX_LENGTH,
            pad_token_id=words.pad_token_id,
            bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id,
        )
        config = LlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=words.convert_tokens_to_ids(IMAGE),
            image_seq_length=(CANVAS // PATCH) ** 2,
            vision_feature_layer=-1,
            vision_feature_select_strategy="default",
            attn_implementation="eager",
        )
        torch.manual_seed(seed)
        self.model = LlavaForConditionalGeneration(config)
        embeddings = self.model.model.vision_tower.embeddings
        positions = embeddings.position_embedding.weight
        with torch.no_grad():
            embeddings.patch_embedding.weight.copy_(cosine_filters(PATCH, positions.shape[1]))
            positions[1:] = sine_cosine_grid(CANVAS // PATCH, positions.shape[1]) * 0.4

    @classmethod
    def build_processor(cls) -> LlavaProcessor:
        pixels = CLIPImageProcessorPil(
            size={"shortest_edge": CANVAS}, crop_size={"height": CANVAS, "width": CANVAS}, do_convert_rgb=True
        )
        return LlavaProcessor(
            image_processor=pixels,
            tokenizer=build_tokenizer(MAX_LENGTH, IMAGE),
            patch_size=PATCH,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=chat_template(IMAGE),
        )

    @classmethod
    def image_text(cls, canvas: Size) -> str:
        return IMAGE * (canvas[0] // PATCH * (canvas[1] // PATCH))

    @property
    def feature_width(self) -> int:
        return int(self.model.config.vision_config.hidden_size)

    @property
    def tower(self) -> list[nn.Parameter]:
        return list(self.model.model.vision_tower.parameters())

    @property
    def projector(self) -> nn.Module:
        projector: nn.Module = self.model.model.multi_modal_projector
        return projector

    def encode(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.model.model.vision_tower(pixels).last_hidden_state[:, 1:]
        return features

    def project(self, features: Tensor) -> Tensor:
        embeddings: Tensor = self.projector(features)
        return embeddings
