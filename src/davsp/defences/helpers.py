"""Helper models of baselines, through transformers' own classes: CLIP, and models that score answers."""

from __future__ import annotations

import threading
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    AutoModelForSequenceClassification,
    AutoProcessor,
    AutoTokenizer,
    CLIPModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from davsp.errors import ModelError
from davsp.models.checkpoint import checkpoint_folder, digest_checkpoint
from davsp.models.loading import check_complete, check_device
from davsp.util.failures import reason


class Clip:
    """A CLIP model by hub id or local folder. Used from several threads at once. `identity` tells its checkpoint.

    Raises ModelError when it cannot be loaded, or lacks weights.
    """

    def __init__(self, name: str, device: str = "auto") -> None:
        self.name, self._lock = name, threading.Lock()
        self._model = load_frozen(CLIPModel, name, device)
        self._processor = _read(AutoProcessor, name, backend="pil")
        self.identity = checkpoint_identity(name)

    def similarity(self, image: Image.Image, text: str) -> float:
        """The cosine between an RGB image and a text, in [-1, 1]."""
        seen, read = self._embed(image, text)
        return float((seen * read).sum())

    def embed(self, image: Image.Image, text: str) -> Tensor:
        """Image and text as one unit vector, float32 (2 * width,): their unit embeddings, one after the other."""
        return F.normalize(torch.cat(self._embed(image, text)), dim=0)

    @torch.inference_mode()
    def _embed(self, image: Image.Image, text: str) -> tuple[Tensor, Tensor]:
        with self._lock:
            inputs = self._processor(images=image, text=[text], truncation=True, return_tensors="pt")
            out = self._model(**inputs.to(self._model.device))
        return out.image_embeds[0].float().cpu(), out.text_embeds[0].float().cpu()


class RewardModel:
    """A sequence classifier with one label, which scores an answer to a question. Used from several threads at once.
    `identity` tells its checkpoint.

    Raises ModelError when it cannot be loaded, lacks weights, or has several labels.
    """

    def __init__(self, name: str, device: str = "auto") -> None:
        self.name, self._lock = name, threading.Lock()
        self._model = load_frozen(AutoModelForSequenceClassification, name, device)
        self._tokenizer: PreTrainedTokenizerBase = _read(AutoTokenizer, name)
        self.identity = checkpoint_identity(name)
        if self._model.config.num_labels != 1:
            raise ModelError(f"{name} has {self._model.config.num_labels} labels; a reward model has one score.")

    @torch.inference_mode()
    def score(self, question: str, answer: str) -> float:
        """How good the answer is, on the model's own scale; put as a chat where the tokenizer has a template."""
        with self._lock:
            inputs = self._inputs(question, answer)
            return float(self._model(**inputs.to(self._model.device)).logits[0, 0])

    def _inputs(self, question: str, answer: str) -> Any:
        limit = {"truncation": True, "return_tensors": "pt"}
        if self._tokenizer.chat_template is None:
            return self._tokenizer(question, answer, **limit)
        chat = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return self._tokenizer.apply_chat_template(chat, return_dict=True, **limit)


def load_frozen(kind: Any, name: str, device: str) -> PreTrainedModel:
    """A frozen model with all its weights: one with a part left random would judge at random."""
    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    check_device(place)
    try:
        model, loading = kind.from_pretrained(name, output_loading_info=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _unreadable(name, error) from error
    check_complete(name, loading)
    return model.eval().requires_grad_(False).to(place)


def _read(kind: Any, name: str, **options: Any) -> Any:
    try:
        return kind.from_pretrained(name, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise _unreadable(name, error) from error


def checkpoint_identity(name: str) -> str:
    """The digests of a checkpoint's weights and settings, by hub id or folder. Raises ModelError for none."""
    content = digest_checkpoint(checkpoint_folder(name))
    return f"{content.weights} {content.settings}"


def _unreadable(name: str, error: Exception) -> ModelError:
    return ModelError(f"cannot load {name!r}: {reason(error)}\nGive a local folder, or a hub id that can be reached.")
