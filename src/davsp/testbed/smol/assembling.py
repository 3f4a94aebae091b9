"""Decoder and trained parts put together: a checkpoint that transformers loads as any other LLaVA."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from jinja2 import Environment, PackageLoader
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from davsp.errors import ModelError
from davsp.models.shipped import SHIPPED, SMOL
from davsp.testbed.smol.decoder import Decoder
from davsp.testbed.smol.parts import LORA, PARTS, TOWER
from davsp.util.files import write_text

SIDE, PATCH = 224, 16
MAX_LENGTH = 8192
LORA_SCALE = 2.0
IMAGE, IMAGE_ID, UNUSED = "<image>", 16, "<empty_output>"
"""The image's token takes the place of a special token of the decoder that was never used."""
START, END, UNKNOWN = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_checkpoint(decoder: Decoder, parts: Path, folder: Path) -> None:
    """Write model (bfloat16), processor, tokenizer, chat template, generation settings and card to a folder.

    Raises ModelError for a decoder that is another model.
    """
    tokenizer = with_image_token(decoder.tokenizer)
    model = build_model(decoder.weights, parts)
    model.save_pretrained(folder)
    build_processor(tokenizer).save_pretrained(folder)
    card = Environment(loader=PackageLoader("davsp.testbed"), autoescape=False).get_template("smol_card.md.j2")  # noqa: S701
    facts = {"millions": model.num_parameters() / 1e6, "source": decoder.source, "parts": PARTS}
    write_text(folder / "README.md", card.render(version=SHIPPED[SMOL].version, **facts))


def build_model(decoder: Mapping[str, Tensor], parts: Path) -> LlavaForConditionalGeneration:
    """The model in bfloat16, from the decoder's weights, float32 by their names within a LlamaModel."""
    with torch.device("meta"):  # no weight is drawn at random, only to be replaced
        model = LlavaForConditionalGeneration(llava_config())
    wanted = model.model.language_model.state_dict()
    for name in sorted(wanted.keys() | decoder.keys()):
        if name not in decoder or name not in wanted or decoder[name].shape != wanted[name].shape:
            raise ModelError(f"{name} is not as in SmolLM2-135M-Instruct: the decoder is another model, or not whole.")
    merged = merge_lora(decoder, load_file(parts / LORA))
    weights = load_file(parts / TOWER) | {f"language_model.{name}": weight for name, weight in merged.items()}
    model.model.load_state_dict({name: weight.bfloat16() for name, weight in weights.items()}, assign=True)
    model.tie_weights()
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=2, do_sample=False)
    return model


def merge_lora(weights: Mapping[str, Tensor], lora: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each matrix W that the LoRA has matrices A and B for becomes W + LORA_SCALE * B A, in float32."""
    merged = dict(weights)
    for name in lora:
        if name.endswith(".lora_A.weight"):
            matrix = name.removesuffix(".lora_A.weight")
            down, up = lora[name].float(), lora[f"{matrix}.lora_B.weight"].float()
            merged[f"{matrix}.weight"] = weights[f"{matrix}.weight"] + LORA_SCALE * up @ down
    return merged


def with_image_token(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerFast:
    """The decoder's tokenizer, in which token IMAGE_ID is called IMAGE. Raises ModelError for another's."""
    record = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = record["model"]["vocab"]
    for token in record["added_tokens"]:
        if token["id"] == IMAGE_ID and token["content"] == UNUSED:
            vocabulary[IMAGE] = vocabulary.pop(UNUSED)
            token["content"] = IMAGE
    if vocabulary.get(IMAGE) != IMAGE_ID:
        raise ModelError(f"token {IMAGE_ID} is not {UNUSED}: the tokenizer is not that of SmolLM2-135M-Instruct.")
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(record)),
        bos_token=START,
        eos_token=END,
        pad_token=END,
        unk_token=UNKNOWN,
        extra_special_tokens={"image_token": IMAGE},
        padding_side="left",
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def build_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Images become SIDE x SIDE pixels, bicubic; a question follows its image, with no system turn before them."""
    square = {"height": SIDE, "width": SIDE}
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size=square, crop_size=square, do_center_crop=False, do_convert_rgb=True),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def llava_config() -> LlavaConfig:
    """What the model is made of."""
    vision = CLIPVisionConfig(
        hidden_size=320,
        intermediate_size=1280,
        num_hidden_layers=8,
        num_attention_heads=5,
        image_size=SIDE,
        patch_size=PATCH,
        projection_dim=320,
        hidden_act="quick_gelu",
    )
    text = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=MAX_LENGTH,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE_ID,
        image_seq_length=(SIDE // PATCH) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
        dtype=torch.bfloat16,
    )
