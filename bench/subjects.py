"""What is measured on: the testbed's model, and LLaVA-1.5 in several sizes with random weights.

Speed does not depend on the values of the weights. All of them read the testbed's queries, with the testbed's words:
they are as long as those of the benchmarks (30 to 70 tokens).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from davsp.data.query import Query
from davsp.imaging.opening import open_image
from davsp.models.base import VisionLanguageModel
from davsp.models.llava import Llava
from davsp.models.loading import load_model
from davsp.testbed.architecture import build_tokenizer, chat_template
from davsp.testbed.queries import border_queries

IMAGE = "<image>"
PATCH = 14
QUERIES_PER_GROUP = 8


@dataclass(frozen=True)
class Tower:
    """A CLIP vision tower's geometry."""

    side: int
    width: int
    layers: int
    heads: int


CLIP_L = Tower(336, 1024, 24, 16)


@dataclass(frozen=True)
class Decoder:
    """The decoder's geometry beside a vision tower."""

    width: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    tower: Tower = CLIP_L


SIZES = {
    "tiny": Decoder(32, 4, 4, 64, 2080, Tower(56, 32, 3, 2)),
    "slim": Decoder(1024, 24, 16, 2752, 32064),
    "7b": Decoder(4096, 32, 32, 11008, 32064),
    "13b": Decoder(5120, 40, 40, 13824, 32064),
}


def subject(size: str) -> VisionLanguageModel:
    """The model of a size: "testbed", or one of SIZES in bfloat16 (on the GPU if there is one)."""
    if size == "testbed":
        return load_model("testbed")
    decoder = SIZES[size]
    tower = decoder.tower
    words = build_tokenizer(2048, IMAGE)
    vision = CLIPVisionConfig(
        hidden_size=tower.width,
        intermediate_size=4 * tower.width,
        num_hidden_layers=tower.layers,
        num_attention_heads=tower.heads,
        image_size=tower.side,
        patch_size=PATCH,
        projection_dim=768,
    )
    text = LlamaConfig(
        vocab_size=decoder.vocabulary,
        hidden_size=decoder.width,
        intermediate_size=decoder.feed_forward,
        num_hidden_layers=decoder.layers,
        num_attention_heads=decoder.heads,
        num_key_value_heads=decoder.heads,
        max_position_embeddings=2048,
        pad_token_id=words.pad_token_id,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
    )
    gpu = torch.cuda.is_available()
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=words.convert_tokens_to_ids(IMAGE),
        image_seq_length=(tower.side // PATCH) ** 2,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda" if gpu else "cpu"):
            model = LlavaForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(torch.float32)
    square = {"height": tower.side, "width": tower.side}
    pixels = CLIPImageProcessorPil(size={"shortest_edge": tower.side}, crop_size=square)
    processor = LlavaProcessor(
        pixels,
        words,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template(IMAGE),
    )
    return Llava(model, processor, size, None)


def queries_in_files(folder: Path, per_group: int = QUERIES_PER_GROUP) -> tuple[list[Query], list[Query]]:
    """Training and validation queries whose images are PNG files, as a user's are."""
    training, validation = border_queries(seed=0, per_group=per_group, checks_per_group=2)
    return in_files(training, folder, "training"), in_files(validation, folder, "validation")


def in_files(queries: Sequence[Query], folder: Path, name: str) -> list[Query]:
    """The queries with their images in PNG files of the folder, numbered after the name."""
    saved = []
    for number, query in enumerate(queries):
        path = folder / f"{name}-{number}.png"
        open_image(query.image).save(path)
        saved.append(query.with_image(path))
    return saved
