"""What every model family offers: a canvas, packing of pixels, prompts as tokens, decoder layers, generation."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from davsp.chat import with_prefix
from davsp.errors import InputError, ModelError
from davsp.images import open_image
from davsp.pixels import fit, stack
from davsp.samples import Query

NO_LABEL = -100


@dataclass(frozen=True)
class Tokens:
    """A right-padded batch of prompts, with answers where they are wanted.

    ids: int64 (B, T). last_prompt: int64 (B,), the index of the last prompt token. labels: int64 (B, T), the
    token to be predicted AT each position (already shifted), NO_LABEL where nothing is to be predicted.
    """

    ids: Int[Tensor, "b t"]
    last_prompt: Int[Tensor, " b"]
    labels: Int[Tensor, "b t"]


class VisionLanguageModel(ABC):
    """A frozen VLM. Pixels go in as float32 (B, 3, H, W) in [0, 1] at the canvas size, and carry gradients."""

    family: ClassVar[str]

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin, name: str, revision: str | None) -> None:
        self.model = model.eval().requires_grad_(False)
        self.processor = processor
        self.name = name
        self.revision = revision
        self.tokenizer: PreTrainedTokenizerBase = processor.tokenizer
        if not processor.chat_template:
            raise ModelError(
                f"{name} has no chat template: save the model with one (processor.chat_template), so that "
                "questions are put the way it was trained on."
            )

    @property
    @abstractmethod
    def canvas(self) -> tuple[int, int]:
        """Height and width in pixels of the image the model sees."""

    @property
    @abstractmethod
    def patch(self) -> int:
        """Side of a vision patch in pixels."""

    @abstractmethod
    def pack(self, pixels: Float[Tensor, "b 3 h w"]) -> dict[str, Tensor]:
        """The model's own image inputs, differentiable in `pixels`, equal to its processor's output."""

    @abstractmethod
    def expand_image(self, prompt: str) -> str:
        """A prompt with the image placeholder repeated once for every image token."""

    @property
    def image_token(self) -> str:
        """The placeholder of an image in a prompt."""
        return str(self.processor.image_token)

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder blocks; `layers[k - 1]` ends in decoder layer k."""
        found: nn.ModuleList = self.model.get_decoder().layers
        return found

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def hidden_size(self) -> int:
        return int(self.model.config.get_text_config().hidden_size)

    @property
    def device(self) -> torch.device:
        found: torch.device = self.model.device
        return found

    def fingerprint(self) -> str:
        """A short digest of the weights' names, shapes and first values, the same at every float precision."""
        found = hashlib.sha256()
        for name, parameter in self.model.named_parameters():
            first = parameter.detach().flatten()[:16].to("cpu", torch.bfloat16).float()
            found.update(f"{name} {tuple(parameter.shape)} {first.tolist()}".encode())
        return found.hexdigest()[:16]

    def prompt_ids(self, question: str, prefix: str = "") -> list[int]:
        """The token ids of a single-turn chat: image, then prefix and question. Raises InputError when the
        text itself holds the image placeholder."""
        text = with_prefix(question, prefix)
        if self.image_token in text:
            raise InputError(f"the question holds the image placeholder {self.image_token!r}: remove it.")
        content = [{"type": "image"}, {"type": "text", "text": text}]
        prompt = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        ids: list[int] = self.tokenizer(self.expand_image(prompt))["input_ids"]
        return ids

    def answer_ids(self, answer: str) -> list[int]:
        """The token ids of an answer, with the end token that a finished answer has."""
        ids: list[int] = self.tokenizer(answer, add_special_tokens=False)["input_ids"]
        return [*ids, int(self.tokenizer.eos_token_id)]

    def tokens(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]] | None = None) -> Tokens:
        """Prompts, each followed by its answer if answers are given, as one right-padded batch.

        In causal attention no token sees the padding to its right, so no mask is needed.
        """
        said = answers or [()] * len(prompts)
        width = max(len(p) + len(a) for p, a in zip(prompts, said, strict=True))
        pad = self.tokenizer.pad_token_id
        ids = torch.full((len(prompts), width), 0 if pad is None else int(pad))
        labels = torch.full((len(prompts), width), NO_LABEL)
        for row, (prompt, answer) in enumerate(zip(prompts, said, strict=True)):
            end = len(prompt) + len(answer)
            ids[row, :end] = torch.tensor([*prompt, *answer])
            labels[row, len(prompt) - 1 : end - 1] = torch.tensor(answer, dtype=torch.long)
        last = torch.tensor([len(p) - 1 for p in prompts])
        return Tokens(ids.to(self.device), last.to(self.device), labels.to(self.device))

    def forward(self, pixels: Float[Tensor, "b 3 h w"], tokens: Tokens) -> Float[Tensor, "b t hidden"]:
        """The decoder's final states (after the final norm) (B, T, hidden); without the language-model head."""
        inputs = self.pack(pixels.to(self.device))
        states: Tensor = self.model.model(input_ids=tokens.ids, use_cache=False, **inputs).last_hidden_state
        return states

    def logits(self, states: Float[Tensor, "*shape hidden"]) -> Float[Tensor, "*shape vocabulary"]:
        """Next-token scores, float32 (..., vocabulary), of final states (..., hidden)."""
        scores: Tensor = self.model.get_output_embeddings()(states)
        return scores.float()

    def canvas_pixels(self, queries: Sequence[Query]) -> Float[Tensor, "b 3 h w"]:
        """The queries' images fitted to the canvas, (B, 3, H, W)."""
        return stack([fit(open_image(q.image), *self.canvas) for q in queries])

    @torch.inference_mode()
    def generate(self, queries: Sequence[Query], max_new_tokens: int = 256) -> list[str]:
        """Greedy answers to a batch of queries, in order."""
        prompts = [self.prompt_ids(q.question) for q in queries]
        width = max(map(len, prompts))
        pad = self.tokenizer.pad_token_id
        pad = int(self.tokenizer.eos_token_id) if pad is None else int(pad)
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=self.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=self.device)
        options: dict[str, Any] = {"do_sample": False, "max_new_tokens": max_new_tokens, "pad_token_id": pad}
        out = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            **self.pack(self.canvas_pixels(queries).to(self.device)),
            **options,
        )
        said: list[str] = self.tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
        return [text.strip() for text in said]
