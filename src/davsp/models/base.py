"""What every model family offers: a canvas, packing of pixels, prompts as tokens, decoder layers, generation."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch
import transformers  # its names are looked up when they are needed: to import them takes two seconds
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor, nn

from davsp.data.query import Query
from davsp.errors import InputError, ModelError
from davsp.imaging.canvas import Canvas
from davsp.imaging.opening import open_image
from davsp.imaging.pixels import Pixels, stack
from davsp.models.chat import MARK, Chat
from davsp.models.checkpoint import CheckpointDigest
from davsp.models.literal import literal_ids, own_tokens
from davsp.models.requests import Request, Response, seeded_sampling
from davsp.models.tokens import Tokens
from davsp.prompts.text import with_prefix
from davsp.util.devices import on_device


class VisionLanguageModel(ABC):
    """A frozen VLM. Pixels go in as float32 (3, H, W) in [0, 1] at sizes of its canvas, and carry gradients.

    A family says in its own file what its class of models needs: which sizes of images (`canvas`, `grid`), which
    inputs made of pixels (`pack`), and which of tokens (`token_inputs`).
    """

    family: ClassVar[str]
    default_chat_template: ClassVar[str | None] = None
    """For families whose published checkpoints bring none."""

    def __init__(
        self,
        model: transformers.PreTrainedModel,
        processor: transformers.ProcessorMixin,
        name: str,
        revision: str | None,
        content: CheckpointDigest | None = None,
    ) -> None:
        """`content` is that of the files it was loaded from; None for a model that was made in memory."""
        self.model = model.eval().requires_grad_(False)
        self.processor = processor
        self.name = name
        self.revision = revision
        self.content = content
        self.tokenizer: transformers.PreTrainedTokenizerBase = processor.tokenizer
        self.image_text = cache(self._image_text)
        processor.chat_template = processor.chat_template or self.default_chat_template or self.tokenizer.chat_template
        if not processor.chat_template:
            raise ModelError(
                f"{name} has no chat template: save the model with one (processor.chat_template), so that "
                "questions are put the way it was trained on."
            )
        self._chat = Chat(processor, name, self.image_token, self.image_in_text)

    @property
    @abstractmethod
    def canvas(self) -> Canvas:
        """The sizes at which images reach the model as they are."""

    @property
    @abstractmethod
    def grid(self) -> int:
        """Side in pixels of what becomes one image token or patch: borders are best multiples of it wide."""

    @abstractmethod
    def pack(self, pixels: Pixels) -> dict[str, Tensor]:
        """The model's own image inputs, differentiable in `pixels`, equal to its processor's output."""

    def token_inputs(
        self,
        ids: Int[Tensor, "b t"],  # noqa: ARG002 - for families that need them
        prompt: Bool[Tensor, "b t"],  # noqa: ARG002
        packed: dict[str, Tensor],  # noqa: ARG002
    ) -> dict[str, Tensor]:
        """What the model needs to know of its tokens beside ids; `prompt` is as in `Tokens`, `packed` from `pack`."""
        return {}

    def _image_inputs(self, blank: Image.Image) -> dict[str, Any]:
        """What the model's own image processor makes of an image."""
        return dict(self.processor.image_processor([blank], return_tensors="np"))

    def _image_text(self, height: int, width: int) -> str:
        """What stands for an image of a canvas size in a prompt, as the model's own processor says."""
        text: str = self.processor.replace_image_token(self._image_inputs(Image.new("RGB", (width, height))), 0)
        return text

    def expand_image(self, prompt: str, size: tuple[int, int]) -> str:
        """A prompt with the image placeholder replaced by the tokens of an image of `size` (height, width)."""
        return prompt.replace(self.image_token, self.image_text(*size), 1)

    def normalise(self, pixels: Float[Tensor, "*shape 3 h w"]) -> Float[Tensor, "*shape 3 h w"]:
        """Pixels less the image processor's mean, over its spread, at the model's precision."""
        image = self.processor.image_processor
        mean, std = (
            on_device(torch.tensor(values), pixels.device)[:, None, None]
            for values in (image.image_mean, image.image_std)
        )
        return ((pixels - mean) / std).to(self.model.dtype)

    @property
    def image_token(self) -> str:
        """The placeholder of an image in a prompt."""
        return str(self.processor.image_token)

    @property
    def image_in_text(self) -> str:
        """What users write for an image before their question, where a chat template takes texts alone."""
        return self.image_token

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder blocks; `layers[k - 1]` ends in decoder layer k."""
        blocks: nn.ModuleList = self.model.get_decoder().layers
        return blocks

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def first_seeing_layer(self) -> int:
        """The first decoder layer whose states depend on the image: 1 where the image stands among the tokens."""
        return 1

    def check_layer(self, layer: int) -> None:
        """Raise InputError for a decoder layer that the model does not have, or that does not see the image yet."""
        first, last = self.first_seeing_layer, self.n_layers
        if not 1 <= layer <= last:
            raise InputError(f"layer {layer} does not exist: {self.name} has layers 1 to {last}.")
        if layer < first:
            raise InputError(
                f"layer {layer} of {self.name} does not see the image yet, so that no border can move it: choose one "
                f"from {first} to {last}."
            )

    @property
    def hidden_size(self) -> int:
        return int(self.model.config.get_text_config().hidden_size)

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    @property
    def weights(self) -> str | None:
        """A digest of every tensor of the checkpoint, at whatever precision it is loaded; None without files."""
        return self.content.weights if self.content else None

    @property
    def identity(self) -> str:
        """A digest of all that its answers depend on: weights, how they are loaded, processor, templates, settings."""
        types = sorted({str(parameter.dtype) for parameter in self.model.parameters()})
        content = self.content or CheckpointDigest(self.fingerprint(), self.processor.chat_template)
        return hashlib.sha256(repr((self.family, content, types)).encode()).hexdigest()

    def fingerprint(self) -> str:
        """A short digest of what no precision and no quantisation changes: the first values of the input embeddings,
        and names, shapes and first values of all vectors (norms, biases)."""
        total = hashlib.sha256()
        words = self.model.get_input_embeddings().weight
        for name, parameter in self.model.named_parameters():
            if parameter.dim() != 1 and parameter is not words:
                continue
            first = parameter.detach().flatten()[:16].to("cpu", torch.bfloat16).float()
            total.update(f"{name} {tuple(parameter.shape)} {first.tolist()}".encode())
        return total.hexdigest()[:16]

    def prompt_ids(self, question: str, prefix: str = "", size: tuple[int, int] | None = None) -> list[int]:
        """The token ids of a single-turn chat: image of `size` (by default the canvas's square), then prefix and
        question. A text that holds the model's own tokens, such as the image's placeholder, is read as text."""
        return self._chat_ids(with_prefix(question, prefix), size or self.canvas.square)

    def text_ids(self, question: str) -> list[int]:
        """The token ids of a single-turn chat without an image; the question is read as in `prompt_ids`."""
        return self._chat_ids(question, None)

    def _chat_ids(self, text: str, size: tuple[int, int] | None) -> list[int]:
        """The token ids of a chat of one text, and one image of `size` if there is one."""
        literal = own_tokens(self.tokenizer).search(text) is not None
        prompt = self._chat.prompt(MARK if literal else text, size is not None)
        if size is not None:
            prompt = self.expand_image(prompt, size)
        if not literal:
            return self._ids(prompt)
        head, _, tail = prompt.partition(MARK)
        return self._ids(head) + literal_ids(self.tokenizer, text, tail)

    def _ids(self, prompt: str) -> list[int]:
        # As `processor.apply_chat_template` does it: a template that brings the first token needs no second one.
        has_first = self.tokenizer.bos_token is not None and prompt.startswith(self.tokenizer.bos_token)
        ids: list[int] = self.tokenizer(prompt, add_special_tokens=not has_first)["input_ids"]
        return ids

    def answer_ids(self, answer: str) -> list[int]:
        """The token ids of an answer, with the end token that a finished answer has."""
        ids: list[int] = self.tokenizer(answer, add_special_tokens=False)["input_ids"]
        return [*ids, int(self.tokenizer.eos_token_id)]

    def tokens(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]] | None = None) -> Tokens:
        """Prompts, each followed by its answer if answers are given, as one right-padded batch on the device."""
        pad = self.tokenizer.pad_token_id
        return Tokens.padded(prompts, answers, 0 if pad is None else int(pad), self.device)

    def inputs(self, pixels: Pixels, ids: Int[Tensor, "b t"], prompt: Bool[Tensor, "b t"]) -> dict[str, Tensor]:
        """All inputs of the model but attention masks, on its device."""
        there = (
            on_device(pixels, self.device)
            if isinstance(pixels, Tensor)
            else [on_device(p, self.device) for p in pixels]
        )
        packed = self.pack(there)
        return {"input_ids": ids, **packed, **self.token_inputs(ids, prompt, packed)}

    def forward(self, pixels: Pixels, tokens: Tokens) -> Float[Tensor, "b t hidden"]:
        """The decoder's final states (after the final norm) (B, T, hidden); without the language-model head."""
        inputs = self.inputs(pixels, tokens.ids, tokens.prompt)
        states: Tensor = self.model.model(use_cache=False, **inputs).last_hidden_state
        return states

    def logits(self, states: Float[Tensor, "*shape hidden"]) -> Float[Tensor, "*shape vocabulary"]:
        """Next-token scores, float32 (..., vocabulary), of final states (..., hidden)."""
        scores: Tensor = self.model.get_output_embeddings()(states).float()
        cap = getattr(self.model.config.get_text_config(), "final_logit_softcapping", None)
        return scores if cap is None else cap * torch.tanh(scores / cap)

    def canvas_pixels(self, queries: Sequence[Query]) -> Pixels:
        """The queries' images, each at the size at which the model sees it."""
        return self._canvas_pixels([q.image for q in queries])

    def _canvas_pixels(self, sources: Sequence[Path | bytes | Image.Image]) -> Pixels:
        images = [self.canvas.resize(open_image(source)) for source in sources]
        return stack(images) if len({i.size for i in images}) == 1 else [stack([i])[0] for i in images]

    def generate(self, queries: Sequence[Query], max_new_tokens: int = 256) -> list[str]:
        """Greedy answers to a batch of queries, in order."""
        return [r.text for r in self.respond([Request(q.question, q.image) for q in queries], max_new_tokens)]

    @torch.inference_mode()
    def respond(self, requests: Sequence[Request], max_new_tokens: int = 256) -> list[Response]:
        """Responses to a batch of requests, in order; those without an image are a batch of their own."""
        responses: dict[int, Response] = {}
        for with_image in (True, False):
            rows = [i for i, r in enumerate(requests) if (r.image is not None) is with_image]
            if rows:
                responses |= dict(zip(rows, self._respond([requests[i] for i in rows], max_new_tokens), strict=True))
        return [responses[i] for i in range(len(requests))]

    def _respond(self, requests: Sequence[Request], max_new_tokens: int) -> list[Response]:
        images = [r.image for r in requests if r.image is not None]
        pixels = self._canvas_pixels(images) if images else None
        begun = [self.tokenizer(r.begun, add_special_tokens=False)["input_ids"] if r.begun else [] for r in requests]
        if pixels is None:
            prompts = [self.text_ids(r.question) for r in requests]
        else:
            prompts = [self.prompt_ids(r.question, size=size_of(p)) for r, p in zip(requests, pixels, strict=True)]
        rows = [prompt + start for prompt, start in zip(prompts, begun, strict=True)]
        width, pad = max(map(len, rows)), self._pad_id
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=self.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=self.device)
        from davsp.models.watching import watching  # it reads activations, which read models

        with watching(self, requests, int(self.tokenizer.eos_token_id)) as watcher:
            sequences = self.model.generate(
                attention_mask=mask,
                **({"input_ids": ids} if pixels is None else self.inputs(pixels, ids, mask.bool())),
                do_sample=False,
                max_new_tokens=max_new_tokens,
                pad_token_id=pad,
                logits_processor=[*seeded_sampling(requests), *([watcher] if any(r.watch for r in requests) else [])],
            )
        generated = sequences[:, width:].tolist()
        return watcher.note([self._response(*row) for row in zip(begun, map(len, rows), generated, strict=True)])

    @property
    def _pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad is None else pad)

    def _response(self, begun: list[int], input_tokens: int, generated: list[int]) -> Response:
        """The response of `generated` tokens, padded, after `input_tokens` ones that end with `begun`."""
        ends = self.model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends]) | {self.tokenizer.eos_token_id}
        length = next((i + 1 for i, token in enumerate(generated) if token in ends), None)
        text = self.tokenizer.decode(begun + generated, skip_special_tokens=True)
        if begun:
            # Decoded together, so that the space between the two is where it belongs.
            text = text[len(self.tokenizer.decode(begun, skip_special_tokens=True)) :].rstrip()
        return Response(text if begun else text.strip(), length is not None, input_tokens, length or len(generated))


def size_of(pixels: Float[Tensor, "3 h w"]) -> tuple[int, int]:
    """Height and width of one image."""
    return pixels.shape[1], pixels.shape[2]
