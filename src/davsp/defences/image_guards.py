"""Guards that look at images, through transformers' own classes: what each is shown, and how its decision is read."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, ShieldGemma2ForImageClassification

from davsp.data.records import parse_unique_json, read_text
from davsp.defences.helpers import checkpoint_identity, load_frozen
from davsp.errors import InputError, ModelError
from davsp.judges.base import Criterion
from davsp.judges.llama_guard import LlamaGuard
from davsp.models.literal import own_tokens
from davsp.models.processors import load_processor
from davsp.util.failures import first_line

SHIELDGEMMA_THRESHOLD = 0.5


class ImageGuard(ABC):
    """A frozen model that tells whether what a user sends is unsafe. Used from several threads at once.

    Raises ModelError where it cannot be loaded, or lacks weights.
    """

    architecture: ClassVar[Any] = AutoModelForImageTextToText

    def __init__(self, name: str, device: str = "auto") -> None:
        self.name, self._lock = name, threading.Lock()
        self._model = load_frozen(self.architecture, name, device)
        try:
            self._processor = load_processor(name, self._model.config, None)
        except Exception as error:  # whatever transformers stumbles over in a processor
            raise ModelError(f"{name} has no processor that can be read: {first_line(error)}") from error
        self._checkpoint = checkpoint_identity(name)

    @property
    def identity(self) -> str:
        """All that its decisions depend on: the checkpoint, and what it was told."""
        return f"{type(self).__name__} {self._checkpoint}"

    def is_unsafe(self, image: Image.Image, question: str) -> bool:
        """Whether an RGB image, or the question about it where the guard reads one, is unsafe.

        Raises ModelError where the guard fails, or gives no decision that is exactly in its form.
        """
        said = self.look(image, question)
        decision = self.read(said)
        if decision is None:
            raise ModelError(f"the guard {self.name} gave no decision: {said!r:.200}.")
        return decision

    @torch.inference_mode()
    def look(self, image: Image.Image, question: str) -> Any:
        """What it says, for `read`. Raises ModelError where it fails."""
        try:
            with self._lock:
                return self._look(image, question)
        except Exception as error:  # whatever a checkpoint's model and processor stumble over
            raise ModelError(f"the guard {self.name} failed: {first_line(error)}") from error

    @abstractmethod
    def _look(self, image: Image.Image, question: str) -> Any: ...

    @abstractmethod
    def read(self, said: Any) -> bool | None:
        """Whether that means unsafe; None unless it is exactly in the guard's form."""

    def _on_device(self, inputs: Any) -> Any:
        return inputs.to(self._model.device, self._model.dtype)


class Reply(NamedTuple):
    """What a guard wrote; `ended`: it came to an end, not to the limit of tokens."""

    text: str
    ended: bool


class WritingGuard(ImageGuard):
    """A guard that writes its decision, as an answer in a chat of one image and one text."""

    reply_tokens: ClassVar[int]

    @abstractmethod
    def text(self, question: str) -> str:
        """What it is asked about the image."""

    def _look(self, image: Image.Image, question: str) -> Reply:
        content = [{"type": "image", "image": image}, {"type": "text", "text": self.as_text(self.text(question))}]
        inputs = self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        tokenizer = self._processor.tokenizer
        ends = self._model.generation_config.eos_token_id
        ends = {*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id}
        sequence = self._model.generate(
            **self._on_device(inputs),
            do_sample=False,
            max_new_tokens=self.reply_tokens,
            pad_token_id=tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        )
        written = sequence[0, inputs["input_ids"].shape[1] :].tolist()
        return Reply(tokenizer.decode(written, skip_special_tokens=True).strip(), bool(ends.intersection(written)))

    def read(self, said: Reply) -> bool | None:
        return self.parse(said.text) if said.ended else None

    @abstractmethod
    def parse(self, reply: str) -> bool | None:
        """Whether a whole reply says unsafe; None unless it is exactly in the guard's form."""

    def as_text(self, text: str) -> str:
        """The text with the guard's own tokens broken by a space: nobody ends his message, or begins the guard's reply,
        from within it."""
        tokens = own_tokens(self._processor.tokenizer)
        while tokens.search(text):
            text = tokens.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
        return text


class LlamaGuardVision(WritingGuard):
    """Llama Guard 4, or Llama Guard 3 Vision: reads image and question in the checkpoint's own chat template, which
    holds the hazards, and writes "safe", or "unsafe" and their codes."""

    reply_tokens = LlamaGuard.reply_tokens

    def text(self, question: str) -> str:
        return question

    def parse(self, reply: str) -> bool | None:
        return LlamaGuard().parse(Criterion.HARM, reply)


class LlavaGuard(WritingGuard):
    """LlavaGuard: looks at the image alone, under a policy, and writes JSON with a rating, "Safe" or "Unsafe"."""

    reply_tokens = 400

    def __init__(self, name: str, device: str = "auto", *, policy: str) -> None:
        super().__init__(name, device)
        self.policy = policy

    @property
    def identity(self) -> str:
        return f"{super().identity} {self.policy!r}"

    def text(self, question: str) -> str:  # noqa: ARG002
        return self.policy

    def parse(self, reply: str) -> bool | None:
        try:
            said = parse_unique_json(reply)
        except (ValueError, RecursionError):
            return None
        rating = said.get("rating") if isinstance(said, dict) else None
        return {"Unsafe": True, "Safe": False}.get(rating) if isinstance(rating, str) else None


class ShieldGemma(ImageGuard):
    """ShieldGemma 2: looks at the image alone, once for each policy of the checkpoint's own, and gives the probability
    that it is violated. Unsafe is what violates one with more than `threshold`."""

    architecture = ShieldGemma2ForImageClassification

    def __init__(self, name: str, device: str = "auto", *, threshold: float) -> None:
        super().__init__(name, device)
        self.threshold = threshold

    @property
    def identity(self) -> str:
        return f"{super().identity} {self.threshold}"

    def _look(self, image: Image.Image, question: str) -> list[float]:  # noqa: ARG002
        inputs = self._processor(images=[image], return_tensors="pt")
        # The first of the two is "Yes", which says that the policy is violated.
        violated: list[float] = self._model(**self._on_device(inputs)).probabilities[:, 0].tolist()
        return violated

    def read(self, said: list[float]) -> bool | None:
        """`said`: for each policy, the probability that the image violates it."""
        if not said or not all(0 <= probability <= 1 for probability in said):
            return None
        return max(said) > self.threshold


GUARDS: dict[str, type[ImageGuard]] = {
    "llama4": LlamaGuardVision,
    "mllama": LlamaGuardVision,
    "shieldgemma2": ShieldGemma,
    "llava": LlavaGuard,
    "llava_onevision": LlavaGuard,
    "qwen2_5_vl": LlavaGuard,
}
"""By the `model_type` of a checkpoint's configuration. LlavaGuard was published in several architectures."""


def load_guard(
    name: str, *, policy: Path | None = None, threshold: float | None = None, device: str = "auto"
) -> ImageGuard:
    """The guard of a checkpoint, by hub id or local folder.

    `policy` is a text file, of LlavaGuard, `threshold` of ShieldGemma 2. Raises ModelError where it cannot be loaded,
    is none of these, or fails at a first look, InputError for a policy that is missing or cannot be read, and for what
    the guard has no use for.
    """
    try:
        model_type = AutoConfig.from_pretrained(name, trust_remote_code=False).model_type
    except Exception as error:  # whatever transformers stumbles over in a configuration
        raise ModelError(
            f"cannot load the guard {name!r}: {first_line(error)}\n"
            "Give a local folder, or a hub id that can be reached."
        ) from error
    kind = GUARDS.get(model_type)
    if kind is None:
        raise ModelError(
            f"{name} is of family {model_type!r}, and no guard of it is known. Known are Llama Guard 4 and 3 Vision, "
            "ShieldGemma 2 and LlavaGuard."
        )
    if policy is not None and kind is not LlavaGuard:
        raise InputError(f"{name} brings its own policies: leave out policy={policy}.")
    if threshold is not None and kind is not ShieldGemma:
        raise InputError(f"{name} writes its decision, and has no probability: leave out threshold={threshold:g}.")
    guard = _made(kind, name, device, policy, threshold)
    guard.look(Image.new("RGB", (64, 64)), "?")  # one that cannot is found out before it stands before a model
    return guard


def _made(kind: type[ImageGuard], name: str, device: str, policy: Path | None, threshold: float | None) -> ImageGuard:
    if kind is ShieldGemma:
        return ShieldGemma(name, device, threshold=SHIELDGEMMA_THRESHOLD if threshold is None else threshold)
    if kind is not LlavaGuard:
        return kind(name, device)
    if policy is None:
        raise InputError(
            f"{name} is a LlavaGuard, which judges by a policy: save the one of its model card as a text file, and "
            "give it with policy=FILE."
        )
    return LlavaGuard(name, device, policy=read_text(policy))
