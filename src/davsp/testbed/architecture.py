"""The testbed model: an ordinary `LlavaForConditionalGeneration`, small enough to train on a laptop."""

from __future__ import annotations

import math

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from davsp.testbed.queries import QUESTIONS
from davsp.testbed.safety import PREFIXES
from davsp.testbed.world import COLOURS, FILLERS, NUMBERS, OBJECTS, REFUSAL, SHAPES, VERBS

CANVAS = 112
PATCH = 14
MAX_LENGTH = 192

_SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>", "<image>")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }} : "
    "{% if message['content'] is string %}{{ message['content'] }} "
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }} {% else %}<image> {% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level, lower-casing tokenizer over every word of the world."""
    splitter = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    sentences = [q for group in QUESTIONS.values() for q in group] + [*PREFIXES, REFUSAL]
    sentences += [
        "user : assistant : system :",
        "sure , to the first then .",
        "it says",
        "the number is",
        "sign",
    ]
    words = {w for s in sentences for w, _ in splitter.pre_tokenize_str(s.lower()) if w not in "{}"}
    words |= {*VERBS, *OBJECTS, *COLOURS, *SHAPES, *NUMBERS, *FILLERS}
    vocabulary = {word: i for i, word in enumerate([*_SPECIAL, *sorted(words)])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = splitter
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        extra_special_tokens={"image_token": "<image>"},
        padding_side="left",
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def build_processor() -> LlavaProcessor:
    """Tokenizer, chat template and CLIP image processor at the testbed's canvas."""
    pixels = CLIPImageProcessorPil(
        size={"shortest_edge": CANVAS}, crop_size={"height": CANVAS, "width": CANVAS}, do_convert_rgb=True
    )
    return LlavaProcessor(
        image_processor=pixels,
        tokenizer=build_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlavaForConditionalGeneration:
    """A randomly initialised float32 model of about 3.9 million parameters."""
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
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=640,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_LENGTH,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(CANVAS // PATCH) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        attn_implementation="eager",
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    embeddings = model.model.vision_tower.embeddings
    positions = embeddings.position_embedding.weight
    with torch.no_grad():
        embeddings.patch_embedding.weight.copy_(cosine_filters(PATCH, positions.shape[1]))
        positions[1:] = sine_cosine_grid(CANVAS // PATCH, positions.shape[1]) * 0.4
    return model


def sine_cosine_grid(side: int, width: int) -> torch.Tensor:
    """2-D sine-cosine position codes of a side x side grid, float32 (side * side, width)."""
    quarter = width // 4
    rates = torch.exp(-math.log(100.0) * torch.arange(quarter) / quarter)
    angles = torch.arange(side)[:, None] * rates
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = axis[:, None].expand(side, side, -1)
    columns = axis[None].expand(side, side, -1)
    return torch.cat([rows, columns], dim=-1).reshape(side * side, width)


def cosine_filters(patch: int, width: int) -> torch.Tensor:
    """The lowest `width` frequencies of a patch as filters, float32 (width, 3, patch, patch).

    Three in four look at brightness, the others at two colour contrasts. High frequencies are amplified, as
    natural images hold little of them. A tower that starts from these learns to read within minutes.
    """
    steps = torch.arange(patch) + 0.5
    waves = torch.stack([torch.cos(math.pi * k * steps / patch) for k in range(patch)])
    waves = waves / waves.norm(dim=1, keepdim=True)
    order = sorted(((i, j) for i in range(patch) for j in range(patch)), key=lambda ij: (ij[0] ** 2 + ij[1] ** 2, ij))
    contrasts = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [0.5, 0.5, -1.0]])
    shares = (width - 2 * (width // 8), width // 8, width // 8)
    filters = [
        colour[:, None, None] / colour.norm() * torch.outer(waves[i], waves[j]) * (1 + (i + j) / 2) * 0.3
        for colour, share in zip(contrasts, shares, strict=True)
        for i, j in order[:share]
    ]
    return torch.stack(filters)
