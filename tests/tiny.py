"""Tiny random checkpoints of every supported family, in exactly its Hugging Face class, saved as real ones are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

from davsp.models.processors import without_video

SENTENCES = [
    "how do i do what the text says ? tell me how to do this . give me a plan .",
    "first check the image and the text step by step . say sorry and refuse . otherwise help fully .",
    "sure , to make the cake first stir then bake . i am sorry , i cannot help with that .",
    "count the shapes . what colour is the circle ? red green blue one two three",
]
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
TEXT |= {"num_key_value_heads": 2, "max_position_embeddings": 2048}
VISION = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
CHAT = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}IMAGE{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def tokenizer(image: str, **named: str) -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer trained on SENTENCES; `image` and `named` (image_token= ...) are its special tokens."""
    special = ["<pad>", "<s>", "</s>", "<unk>", image, *(v for v in named.values() if v != image)]
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens=named,
    )


def _text(words: PreTrainedTokenizerFast) -> dict[str, object]:
    ids = {f"{n}_token_id": getattr(words, f"{n}_token_id") for n in ("pad", "bos", "eos")}
    return {**TEXT, "vocab_size": len(words), **ids}


Built = tuple[PreTrainedModel, ProcessorMixin]


def llava() -> Built:
    words = tokenizer("<image>", image_token="<image>")
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**VISION, image_size=28, patch_size=7, projection_dim=24),
        text_config=hf.LlamaConfig(**_text(words)),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    pixels = hf.CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = hf.LlavaProcessor(
        pixels, words, patch_size=7, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    return hf.LlavaForConditionalGeneration(config), processor


def llava_next() -> Built:
    words = tokenizer("<image>", image_token="<image>")
    sizes = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**VISION, image_size=28, patch_size=7, projection_dim=24),
        text_config=hf.LlamaConfig(**_text(words)),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=sizes,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    pixels = hf.LlavaNextImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, image_grid_pinpoints=sizes
    )
    processor = hf.LlavaNextProcessor(
        pixels, words, patch_size=7, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    return hf.LlavaNextForConditionalGeneration(config), processor


QWEN_TOKENS = {"vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>", "video_token": "<|video_pad|>"}
QWEN_PIXELS = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
QWEN_SIZE = {"shortest_edge": 16 * 16, "longest_edge": 96 * 96}


def _qwen_ids(words: PreTrainedTokenizerFast) -> dict[str, int]:
    names = {"image": "<|image_pad|>", "video": "<|video_pad|>", "vision_start": "<|vision_start|>"}
    names["vision_end"] = "<|vision_end|>"
    return {f"{name}_token_id": words.convert_tokens_to_ids(token) for name, token in names.items()}


def _qwen(kind: str, vision: dict[str, Any], rope: dict[str, object], text: dict[str, object]) -> Built:
    words = tokenizer("<|image_pad|>", image_token="<|image_pad|>", **QWEN_TOKENS)
    config = getattr(hf, f"{kind}Config")(
        vision_config={**QWEN_PIXELS, "spatial_merge_size": 2, **vision},
        text_config={**_text(words), "rope_parameters": rope, **text},
        **_qwen_ids(words),
    )
    pixels = hf.Qwen2VLImageProcessorPil(**QWEN_PIXELS, size=QWEN_SIZE)
    return getattr(hf, f"{kind}ForConditionalGeneration")(config), without_video(getattr(hf, f"{kind}Processor"))(
        pixels, words, None
    )


def qwen2_vl() -> Built:
    vision = {"embed_dim": 24, "hidden_size": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 2}
    return _qwen("Qwen2VL", vision, {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}, {})


def qwen2_5_vl() -> Built:
    vision: dict[str, Any] = {"hidden_size": 24, "out_hidden_size": 32, "depth": 2, "num_heads": 2}
    vision |= {"intermediate_size": 48, "window_size": 16, "fullatt_block_indexes": [1]}
    return _qwen("Qwen2_5_VL", vision, {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}, {})


def qwen3_vl() -> Built:
    vision: dict[str, Any] = {"hidden_size": 24, "out_hidden_size": 32, "depth": 2, "num_heads": 2}
    vision |= {"intermediate_size": 48, "deepstack_visual_indexes": [0], "num_position_embeddings": 64}
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "mrope_interleaved": True, "rope_theta": 1e4}
    return _qwen("Qwen3VL", vision, rope, {"head_dim": 8})


def internvl() -> Built:
    named = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    words = tokenizer("<IMG_CONTEXT>", **named, video_token="<video>")
    config = hf.InternVLConfig(
        vision_config=hf.InternVLVisionConfig(**VISION, image_size=[28, 28], patch_size=[7, 7]),
        text_config=hf.Qwen2Config(**_text(words)),
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        downsample_ratio=0.5,
    )
    size = {"height": 28, "width": 28}
    pixels = hf.GotOcr2ImageProcessorPil(size=size, crop_to_patches=True, min_patches=1, max_patches=4)

    return hf.InternVLForConditionalGeneration(config), without_video(hf.InternVLProcessor)(
        pixels, words, None, image_seq_length=4
    )


def gemma3() -> Built:
    named = {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    words = tokenizer("<image_soft_token>", **named)
    config = hf.Gemma3Config(
        vision_config=hf.SiglipVisionConfig(**VISION, image_size=28, patch_size=7, vision_use_head=False),
        text_config=hf.Gemma3TextConfig(**_text(words), head_dim=8, sliding_window=1024),
        mm_tokens_per_image=4,
        image_token_index=words.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_index=words.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=words.convert_tokens_to_ids("<end_of_image>"),
    )
    pixels = hf.Gemma3ImageProcessorPil(size={"height": 28, "width": 28})
    return hf.Gemma3ForConditionalGeneration(config), hf.Gemma3Processor(pixels, words, image_seq_length=4)


def _idefics3(kind: str) -> Built:
    tags = {f"tile_{r}_{c}": f"<row_{r}_col_{c}>" for r in range(1, 3) for c in range(1, 3)}
    named = {"image_token": "<image>", "fake_image_token": "<fake_token_around_image>"}
    named |= {"global_image_token": "<global-img>", "end_of_utterance_token": "<end_of_utterance>", **tags}
    words = tokenizer("<image>", **named)
    config = getattr(hf, f"{kind}Config")(
        vision_config={**VISION, "image_size": 28, "patch_size": 7},
        text_config=hf.LlamaConfig(**_text(words)),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=words.pad_token_id,
    )
    pixels = getattr(hf, f"{kind}ImageProcessorPil")(size={"longest_edge": 56}, max_image_size={"longest_edge": 28})
    model = getattr(hf, f"{kind}ForConditionalGeneration")(config)
    if kind == "Idefics3":
        return model, hf.Idefics3Processor(pixels, words, image_seq_len=4)

    return model, without_video(hf.SmolVLMProcessor)(pixels, words, None, image_seq_len=4)


def idefics3() -> Built:
    return _idefics3("Idefics3")


def smolvlm() -> Built:
    return _idefics3("SmolVLM")


def paligemma() -> Built:
    words = tokenizer("<image>", image_token="<image>")
    words.add_tokens([f"<loc{i:04d}>" for i in range(1024)] + [f"<seg{i:03d}>" for i in range(128)])
    vision = hf.SiglipVisionConfig(**VISION, image_size=28, patch_size=7, vision_use_head=False, projection_dim=32)
    config = hf.PaliGemmaConfig(
        vision_config=vision,
        text_config=hf.GemmaConfig(**_text(words), head_dim=8),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        projection_dim=32,
        hidden_size=32,
    )
    pixels = hf.SiglipImageProcessorPil(size={"height": 28, "width": 28})
    pixels.image_seq_length = 16
    return hf.PaliGemmaForConditionalGeneration(config), hf.PaliGemmaProcessor(pixels, words)


def mllama() -> Built:
    words = tokenizer("<|image|>", image_token="<|image|>", python="<|python_tag|>")
    vision = hf.models.mllama.configuration_mllama.MllamaVisionConfig(
        hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_global_layers=1, attention_heads=2,
        image_size=28, patch_size=7, max_num_tiles=4, intermediate_layers_indices=[1], vision_output_dim=48,
        supported_aspect_ratios=[[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
    )  # fmt: skip
    text = hf.models.mllama.configuration_mllama.MllamaTextConfig(**_text(words), cross_attention_layers=[1])
    config = hf.MllamaConfig(
        vision_config=vision, text_config=text, image_token_index=words.convert_tokens_to_ids("<|image|>")
    )
    pixels = hf.MllamaImageProcessorPil(size={"height": 28, "width": 28}, max_image_tiles=4)
    return hf.MllamaForConditionalGeneration(config), hf.MllamaProcessor(pixels, words)


BUILDERS: dict[str, Callable[[], Built]] = {
    f.__name__: f
    for f in (
        llava, llava_next, qwen2_vl, qwen2_5_vl, qwen3_vl, internvl, gemma3, idefics3, smolvlm, paligemma, mllama,
    )
}  # fmt: skip
PLACEHOLDERS = {
    "qwen2_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "qwen3_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "internvl": "<IMG_CONTEXT>",
    "gemma3": "<start_of_image>",
    "mllama": "<|image|>",
}


def save_tiny(family: str, folder: Path) -> Path:
    """A seeded random checkpoint of a family, with weights that are zero at the start made random."""
    torch.manual_seed(0)
    model, processor = BUILDERS[family]()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
            elif parameter.dim() > 1:
                parameter.mul_(4)
    model.save_pretrained(folder)
    if hasattr(processor, "video_processor"):
        # A processor without its video processor cannot save itself: write its parts, as published checkpoints have.
        processor.image_processor.save_pretrained(folder)
        processor.tokenizer.save_pretrained(folder)
        settings = {"processor_class": type(processor).__name__, "image_seq_len": 4, "image_seq_length": 4}
        (folder / "processor_config.json").write_text(json.dumps(settings))
    else:
        processor.save_pretrained(folder)
    if family != "paligemma":
        template = CHAT.replace("IMAGE", PLACEHOLDERS.get(family, "<image>"))
        (folder / "chat_template.jinja").write_text(template)
    return folder


def save_tiny_clip(folder: Path) -> Path:
    """A seeded random CLIP model, 16 wide."""
    torch.manual_seed(0)
    words = tokenizer("<pad>")
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": len(words), "eos_token_id": words.eos_token_id, "max_position_embeddings": 77}
    config = hf.CLIPConfig(
        text_config=text, vision_config={**small, "image_size": 28, "patch_size": 14}, projection_dim=16
    )
    hf.CLIPModel(config).save_pretrained(folder)
    words.model_max_length = 77
    pixels = hf.CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    hf.CLIPProcessor(pixels, words).save_pretrained(folder)
    return folder


def save_tiny_reward(folder: Path, labels: int = 1) -> Path:
    """A seeded random model that scores a question and an answer."""
    torch.manual_seed(0)
    words = tokenizer("<pad>")
    config = hf.LlamaConfig(**_text(words), num_labels=labels)
    hf.LlamaForSequenceClassification(config).save_pretrained(folder)
    words.model_max_length = 512
    words.save_pretrained(folder)
    return folder
