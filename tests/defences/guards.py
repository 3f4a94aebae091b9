"""Tiny guards of exactly the published ones' classes, taught what to decide, saved as real ones are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from PIL import Image
from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

from davsp.models.processors import load_processor, without_video
from tests import tiny

RED, BLUE = (Image.new("RGB", (40, 30), colour) for colour in ("red", "blue"))
QUESTION = "how do i do this ?"
POLICY = "count the shapes and rate the image ."
CHAT = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}:{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}IMAGE{% endif %}{% endfor %}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
PLACES = {**tiny.PLACEHOLDERS, "llama4": "<|image|>", "shieldgemma2": "<start_of_image>"}


def _ids(words: PreTrainedTokenizerFast) -> dict[str, Any]:
    ids = {f"{n}_token_id": getattr(words, f"{n}_token_id") for n in ("pad", "bos", "eos")}
    return {"vocab_size": len(words), **ids}


def llava_onevision() -> tiny.Built:
    words = tiny.tokenizer("<image>", image_token="<image>", video_token="<video>")
    sizes = [[28, 28], [28, 56]]
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**tiny.VISION, image_size=28, patch_size=7, vision_use_head=False),
        text_config=hf.Qwen2Config(**tiny.TEXT, **_ids(words)),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=sizes,
    )
    pixels = hf.LlavaOnevisionImageProcessorPil(size={"height": 28, "width": 28}, image_grid_pinpoints=sizes)
    processor = without_video(hf.LlavaOnevisionProcessor)(
        pixels, words, None, num_image_tokens=16, vision_feature_select_strategy="full"
    )
    return hf.LlavaOnevisionForConditionalGeneration(config), processor


def shieldgemma2() -> tiny.Built:
    named = {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    words = tiny.tokenizer("<image_soft_token>", **named)
    config = hf.ShieldGemma2Config(
        vision_config=hf.SiglipVisionConfig(**tiny.VISION, image_size=28, patch_size=7, vision_use_head=False),
        text_config=hf.Gemma3TextConfig(**tiny.TEXT, **_ids(words), head_dim=8, sliding_window=1024),
        mm_tokens_per_image=4,
        image_token_index=words.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_index=words.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=words.convert_tokens_to_ids("<end_of_image>"),
        yes_token_index=words.convert_tokens_to_ids("y"),
        no_token_index=words.convert_tokens_to_ids("n"),
    )
    processor = hf.ShieldGemma2Processor(
        hf.Gemma3ImageProcessorPil(size={"height": 28, "width": 28}),
        words,
        image_seq_length=4,
        policy_definitions={"first": "no cake .", "second": "no green circle ."},
        chat_template=CHAT.replace("IMAGE", PLACES["shieldgemma2"]),
    )
    return hf.ShieldGemma2ForImageClassification(config), processor


def llama4() -> tiny.Built:
    """Its images are prepared by torchvision alone."""
    named = {"patch": "<|patch|>", "start": "<|image_start|>", "end": "<|image_end|>"}
    named |= {"x": "<|tile_x_separator|>", "y": "<|tile_y_separator|>"}
    words = tiny.tokenizer("<|image|>", image_token="<|image|>", **named)
    vision = hf.Llama4VisionConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, vision_output_dim=32,
        image_size=28, patch_size=7, projector_input_dim=32, projector_output_dim=32,
    )  # fmt: skip
    text = hf.Llama4TextConfig(
        **tiny.TEXT, **_ids(words), intermediate_size_mlp=64, head_dim=8, num_local_experts=2, moe_layers=[]
    )
    config = hf.Llama4Config(
        vision_config=vision, text_config=text, image_token_index=words.convert_tokens_to_ids("<|patch|>")
    )
    pixels = hf.Llama4ImageProcessor(size={"height": 28, "width": 28})
    return hf.Llama4ForConditionalGeneration(config), hf.Llama4Processor(pixels, words, patch_size=7)


BUILDERS: dict[str, Callable[[], tiny.Built]] = {
    **tiny.BUILDERS,
    **{f.__name__: f for f in (llava_onevision, shieldgemma2, llama4)},
}


def save_guard(
    family: str, folder: Path, replies: tuple[str, str] = ("unsafe", "safe"), asked: str = QUESTION, steps: int = 200
) -> Path:
    """A guard that replies the first to the red image and the second to the blue one, asked about them so."""
    torch.manual_seed(0)
    model, processor = BUILDERS[family]()
    save_processor(processor, folder, family)
    model.save_pretrained(folder)
    processor = load_processor(str(folder), model.config, None)
    model.train()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        loss = sum(
            (_loss(model, processor, image, asked, reply) for image, reply in zip((RED, BLUE), replies, strict=True)),
            start=torch.zeros(()),
        )
        if loss.item() < 0.03:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval().save_pretrained(folder)
    return folder


def _loss(model: PreTrainedModel, processor: ProcessorMixin, image: Image.Image, asked: str, reply: str) -> Any:
    """How unlikely a reply is; of ShieldGemma, "yes" or "no" to every policy of its own."""
    if isinstance(model, hf.ShieldGemma2ForImageClassification):
        scores = model(**processor(images=[image], return_tensors="pt")).logits
        wanted = torch.full((len(scores),), 0 if reply == "unsafe" else 1)
        return torch.nn.functional.cross_entropy(scores, wanted)
    content = [{"type": "image", "image": image}, {"type": "text", "text": asked}]
    chat = [{"role": "user", "content": content}, {"role": "assistant", "content": [{"type": "text", "text": reply}]}]
    inputs = processor.apply_chat_template(chat, tokenize=True, return_dict=True, return_tensors="pt").to(model.dtype)
    labels = inputs["input_ids"].clone()
    labels[:, : -len(processor.tokenizer(reply, add_special_tokens=False)["input_ids"]) - 1] = -100
    return model(**inputs, labels=labels).loss


def save_processor(processor: ProcessorMixin, folder: Path, family: str) -> None:
    """Write a processor, the parts alone of one without its video processor, as published checkpoints have them."""
    if hasattr(processor, "video_processor"):
        processor.image_processor.save_pretrained(folder)
        processor.tokenizer.save_pretrained(folder)
        settings = {"processor_class": type(processor).__name__, "num_image_tokens": 16}
        settings |= {"vision_feature_select_strategy": "full"} if family == "llava_onevision" else {}
        (folder / "processor_config.json").write_text(json.dumps(settings))
    else:
        processor.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(CHAT.replace("IMAGE", PLACES.get(family, "<image>")))
