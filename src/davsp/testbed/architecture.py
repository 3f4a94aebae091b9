"""What the recipe needs to know of a testbed model, whatever its architecture; and what all of them share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

from davsp.testbed.queries import QUESTIONS
from davsp.testbed.safety import PREFIXES
from davsp.testbed.scenes import Size
from davsp.testbed.world import COLOURS, FILLERS, NUMBERS, OBJECTS, REFUSAL, SHAPES, VERBS


class Architecture(ABC):
    """A testbed model in the making: a processor, and a randomly initialised model in an ordinary class."""

    name: ClassVar[str]
    description: ClassVar[str]
    token_side: ClassVar[int]
    """Side in pixels of what becomes one image token."""
    image_side: ClassVar[int]
    """Side in pixels of the images that it is scored on."""
    canvases: ClassVar[tuple[Size, ...]]
    """The sizes of the images it learns from, each equally often."""

    processor: ProcessorMixin
    model: PreTrainedModel

    @abstractmethod
    def __init__(self, seed: int) -> None:
        """The weights are a function of `seed` alone."""

    @classmethod
    @abstractmethod
    def build_processor(cls) -> ProcessorMixin:
        """Tokenizer, chat template and image processor."""

    @classmethod
    @abstractmethod
    def image_text(cls, canvas: Size) -> str:
        """What stands for an image of a size in a prompt."""

    @property
    @abstractmethod
    def feature_width(self) -> int:
        """Width of what `see` gives."""

    @property
    @abstractmethod
    def tower(self) -> list[nn.Parameter]:
        """The vision tower's parameters."""

    @property
    @abstractmethod
    def projector(self) -> nn.Module:
        """What turns the tower's states into input embeddings of the decoder."""

    @abstractmethod
    def encode(self, pixels: Tensor) -> Tensor:
        """The tower's state of every image token (B, P, feature_width), from normalised pixels (B, 3, H, W)."""

    @abstractmethod
    def project(self, features: Tensor) -> Tensor:
        """What each image token says to the decoder, (B, P, hidden), from its features (B, P, feature_width)."""

    def save_processor(self, folder: Path) -> None:
        """Write the processor's files."""
        self.processor.save_pretrained(folder)

    def positions(self, ids: Tensor, canvas: Size) -> Tensor | None:  # noqa: ARG002 - for those that need them
        """Position ids of token ids (B, T) about images of a size, where they are not simply 0, 1, 2 ..."""
        return None

    @property
    def image_token_id(self) -> int:
        return int(self.model.config.image_token_id)


def chat_template(image: str) -> str:
    """Turns as "user : ... assistant : ..."; an image is written as `image`."""
    return (
        "{{ bos_token }}{% for message in messages %}{{ message['role'] }} : "
        "{% if message['content'] is string %}{{ message['content'] }} "
        "{% else %}{% for part in message['content'] %}"
        "{% if part['type'] == 'text' %}{{ part['text'] }} {% else %}" + image + " {% endif %}"
        "{% endfor %}{% endif %}"
        "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}assistant : {% endif %}"
    )


def build_tokenizer(max_length: int, image: str, **named: str) -> PreTrainedTokenizerFast:
    """A word-level, lower-casing tokenizer over every word of the world.

    `image` is the placeholder of an image token, `named` (vision_start_token= ...) are more special tokens.
    """
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
    vocabulary = {
        word: i for i, word in enumerate(["<pad>", "<unk>", "<bos>", "<eos>", image, *named.values(), *sorted(words)])
    }
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = splitter
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        extra_special_tokens={"image_token": image, **named},
        padding_side="left",
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


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

    Three in four (or all there are) look at brightness, the others at two colour contrasts. High frequencies are
    amplified, as natural images hold little of them. A tower that starts from these learns to read within minutes.
    """
    steps = torch.arange(patch) + 0.5
    waves = torch.stack([torch.cos(math.pi * k * steps / patch) for k in range(patch)])
    waves = waves / waves.norm(dim=1, keepdim=True)
    order = sorted(((i, j) for i in range(patch) for j in range(patch)), key=lambda ij: (ij[0] ** 2 + ij[1] ** 2, ij))
    contrasts = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [0.5, 0.5, -1.0]])
    bright = min(width - 2 * (width // 8), len(order))
    shares = (bright, (width - bright) // 2, width - bright - (width - bright) // 2)
    filters = [
        colour[:, None, None] / colour.norm() * torch.outer(waves[i], waves[j]) * (1 + (i + j) / 2) * 0.3
        for colour, share in zip(contrasts, shares, strict=True)
        for i, j in order[:share]
    ]
    return torch.stack(filters)
