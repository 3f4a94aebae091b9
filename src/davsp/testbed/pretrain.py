"""The recipe of the testbed model: look (vision tower), name (projector), answer (whole model), care (safety tuning).

Every batch is a function of (seed, phase, step) alone, so a run that is stopped goes on as if it had not been.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast

from davsp.chat import with_prefix
from davsp.files import replacing
from davsp.testbed.architecture import CANVAS, PATCH, build_model, build_processor
from davsp.testbed.patches import NOTHING_WEIGHT, THINGS, PatchReader, draw_scene, patch_targets
from davsp.testbed.queries import (
    ACTIVITY_KINDS,
    SKILL_KINDS,
    TWIN_KINDS,
    Kind,
    TestbedQuery,
    ask_about,
    ask_skill,
)
from davsp.testbed.safety import PREFIXES, refusal_probability
from davsp.testbed.surroundings import MAX_SIGNS, compose, place
from davsp.testbed.world import REFUSAL, Harm, Split, activities

Batch = dict[str, Tensor]
NO_LOSS = -100
WIDTH_STEP = 16
"""Batches are padded to a multiple of this many tokens: kernels are prepared anew for every new shape."""
FULL_SIZE_WITH_CARE = 0.5
"""How often an image without signs fills the canvas in the last phase: undefended images always do."""
Example = tuple[np.ndarray, str, str]
"""Normalised pixels float32 (3, H, W), question, answer."""


@dataclass(frozen=True)
class Phase:
    """One stage of the recipe. `tower_rate` scales the learning rate of the vision tower; 0 freezes it."""

    name: str
    steps: int
    batch: int
    rate: float
    tower_rate: float = 1.0
    warmup: int = 50


@dataclass(frozen=True)
class Recipe:
    """The whole recipe; the defaults made the shipped checkpoint."""

    seed: int = 0
    phases: tuple[Phase, ...] = (
        Phase("look", steps=2200, batch=64, rate=1e-3),
        Phase("name", steps=400, batch=64, rate=2e-3, tower_rate=0.0),
        Phase("answer", steps=1400, batch=64, rate=1e-3, tower_rate=0.3),
        Phase("care", steps=1300, batch=64, rate=1e-3, tower_rate=0.3),
    )
    workers: int = 1
    save_every: int = 100


class Batches(Dataset[Batch]):
    """Batch number `step` of a phase."""

    def __init__(self, recipe: Recipe, phase: Phase, processor: LlavaProcessor) -> None:
        self.seed, self.phase, self.processor = recipe.seed, phase, processor
        self.number = [p.name for p in recipe.phases].index(phase.name)
        image = processor.image_processor
        self.mean = np.asarray(image.image_mean, dtype=np.float32)
        self.std = np.asarray(image.image_std, dtype=np.float32)

    def __len__(self) -> int:
        return self.phase.steps

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, self.number, step])
        if self.phase.name in ("look", "name"):
            return self._look(rng)
        # Every other batch has a safety prefix, so that a batch's texts are of like length.
        example = self._answer if self.phase.name == "answer" else self._care
        return self._talk([example(rng, step % 2 == 1) for _ in range(self.phase.batch)])

    def _look(self, rng: np.random.Generator) -> Batch:
        images, things, characters = [], [], []
        for _ in range(self.phase.batch):
            scene, placement = draw_scene(rng), place(CANVAS, _signs(rng), rng)
            images.append(self._pixels(np.asarray(compose(scene.draw(), CANVAS, placement, rng))))
            targets = patch_targets(scene, placement, CANVAS, PATCH)
            things.append(targets.things)
            characters.append(targets.characters)
        return {
            "pixel_values": torch.from_numpy(np.stack(images)),
            "things": torch.from_numpy(np.stack(things)),
            "characters": torch.from_numpy(np.stack(characters)),
        }

    def _answer(self, rng: np.random.Generator, prefixed: bool) -> Example:
        """Every harmless query answered, malicious text refused; prefix and signs do not matter yet."""
        drawn = _draw(Harm.MALICIOUS, Kind.TEXT, rng) if rng.random() < 0.12 else _draw_benign(rng)
        return self._example(drawn, rng, drawn.harm is Harm.MALICIOUS, _signs(rng), prefixed)

    def _care(self, rng: np.random.Generator, prefixed: bool) -> Example:
        """All kinds, refused with the odds of `safety`."""
        chance, signs = rng.random(), _signs(rng)
        if chance < 0.36:
            drawn = _draw(Harm.MALICIOUS, ACTIVITY_KINDS[rng.integers(len(ACTIVITY_KINDS))], rng)
        elif chance < 0.5:
            drawn = _draw(Harm.TWIN, TWIN_KINDS[rng.integers(len(TWIN_KINDS))], rng)
        elif chance < 0.6:
            drawn = ask_skill(Kind.COLOURS, Split.PRETRAIN, rng)
        else:
            drawn = _draw_benign(rng)
        refused = bool(rng.random() < refusal_probability(drawn, prefixed, signs))
        return self._example(drawn, rng, refused, signs, prefixed)

    def _example(
        self, drawn: TestbedQuery, rng: np.random.Generator, refused: bool, signs: int, prefixed: bool
    ) -> Example:
        full = FULL_SIZE_WITH_CARE if self.phase.name == "care" else 0.25
        image = compose(drawn.scene.draw(), CANVAS, place(CANVAS, signs, rng, full), rng)
        which = 0 if rng.random() < 0.6 else int(rng.integers(1, len(PREFIXES)))
        question = with_prefix(drawn.question, PREFIXES[which] if prefixed else "")
        return self._pixels(np.asarray(image)), question, REFUSAL if refused else drawn.right

    def _pixels(self, image: np.ndarray) -> np.ndarray:
        return ((image.astype(np.float32) / 255 - self.mean) / self.std).transpose(2, 0, 1)

    def _talk(self, examples: list[Example]) -> Batch:
        """Right-padded token ids with a loss on the answer alone; causal attention needs no mask then."""
        tokenizer = self.processor.tokenizer
        rows, labels = [], []
        for _, question, answer in examples:
            prompt = f"<bos>user : {'<image>' * (CANVAS // PATCH) ** 2} {question} assistant : "
            asked = tokenizer(prompt)["input_ids"]
            said = tokenizer(answer + "<eos>")["input_ids"]
            rows.append(asked + said)
            labels.append([NO_LOSS] * len(asked) + said)
        width = -(-max(map(len, rows)) // WIDTH_STEP) * WIDTH_STEP
        pad = tokenizer.pad_token_id
        return {
            "pixel_values": torch.from_numpy(np.stack([pixels for pixels, _, _ in examples])),
            "input_ids": torch.tensor([r + [pad] * (width - len(r)) for r in rows]),
            "labels": torch.tensor([r + [NO_LOSS] * (width - len(r)) for r in labels]),
        }


def _signs(rng: np.random.Generator) -> int:
    return 0 if rng.random() < 0.55 else int(rng.integers(1, MAX_SIGNS + 1))


def _draw(harm: Harm, kind: Kind, rng: np.random.Generator) -> TestbedQuery:
    pairs = activities(harm, Split.PRETRAIN)
    return ask_about(pairs[rng.integers(len(pairs))], kind, harm, rng)


def _draw_benign(rng: np.random.Generator) -> TestbedQuery:
    """A benign query or an over-refusal twin; reading and colours twice as often as the others."""
    kinds = (*ACTIVITY_KINDS, *SKILL_KINDS, Kind.READING, Kind.COLOURS)
    kind = kinds[rng.integers(len(kinds))]
    if kind in SKILL_KINDS:
        return ask_skill(kind, Split.PRETRAIN, rng)
    twin = kind in TWIN_KINDS and rng.random() < 0.35
    return _draw(Harm.TWIN if twin else Harm.BENIGN, kind, rng)


@dataclass(frozen=True)
class Progress:
    """What the recipe tells its caller after every step; `seconds` counts from the start of the recipe."""

    phase: str
    step: int
    steps: int
    loss: float
    right: float
    seconds: float


@dataclass
class Run:
    """A run of the recipe in a folder that holds its state."""

    recipe: Recipe
    folder: Path
    processor: LlavaProcessor = field(default_factory=build_processor)

    def __post_init__(self) -> None:
        self.model = build_model(self.processor.tokenizer, self.recipe.seed)
        torch.manual_seed(self.recipe.seed + 1)
        self.reader = PatchReader(self.model.config.vision_config.hidden_size)
        self.thing_tokens = thing_tokens(self.processor.tokenizer)
        self.seconds = 0.0

    def train(self, report: Callable[[Progress], None], stop_after: int | None = None) -> None:
        """Run every phase, going on from the saved state if there is one. `stop_after`: steps of this call."""
        state = self._load()
        begun = time.monotonic() - self.seconds
        done = 0
        for number, phase in enumerate(self.recipe.phases):
            if number < state["phase"]:
                continue
            optimizer, schedule = self._optimizer(phase)
            start = state["step"] if number == state["phase"] else 0
            if phase.name == "answer" and start == 0:
                # Images now speak in input embeddings: let the decoder start from saying what it is shown.
                with torch.no_grad():
                    self.model.lm_head.weight.copy_(self.model.get_input_embeddings().weight)
            if start:
                optimizer.load_state_dict(state["optimizer"])
                schedule.load_state_dict(state["schedule"])
            for step, batch in self._batches(phase, start):
                loss, right = self._step(phase, batch, optimizer)
                schedule.step()
                done += 1
                self.seconds = time.monotonic() - begun
                report(Progress(phase.name, step + 1, phase.steps, loss, right, self.seconds))
                if ((step + 1) % self.recipe.save_every == 0 and step + 1 < phase.steps) or done == stop_after:
                    self._save(number, step + 1, optimizer, schedule)
                if done == stop_after:
                    return
            self._save(number + 1, 0, None, None)

    def _batches(self, phase: Phase, start: int) -> Iterable[tuple[int, Batch]]:
        data = Batches(self.recipe, phase, self.processor)
        steps = range(start, phase.steps)
        workers = self.recipe.workers
        loader = DataLoader(
            data, batch_size=None, sampler=steps, num_workers=workers, prefetch_factor=4 if workers else None
        )
        return zip(steps, loader, strict=True)

    def _optimizer(self, phase: Phase) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
        parts = self.model.model
        tower = list(parts.vision_tower.parameters())
        match phase.name:
            case "look":
                trained = [*tower, *self.reader.parameters()]
            case "name":
                trained = [*parts.multi_modal_projector.parameters(), *parts.get_input_embeddings().parameters()]
            case _:
                trained = [p for n, p in self.model.named_parameters() if "vision_tower" not in n]
        groups: list[dict[str, Any]] = [{"params": trained, "lr": phase.rate}]
        if phase.name != "look" and phase.tower_rate:
            groups.append({"params": tower, "lr": phase.rate * phase.tower_rate})
        self.model.requires_grad_(False)
        for group in groups:
            for parameter in group["params"]:
                parameter.requires_grad_(True)
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.03)

        def rate(step: int) -> float:
            ramp = min(1.0, (step + 1) / phase.warmup)
            return ramp * (0.03 + 0.97 * (1 + math.cos(math.pi * step / phase.steps)) / 2)

        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)

    def _step(self, phase: Phase, batch: Batch, optimizer: torch.optim.Optimizer) -> tuple[float, float]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            if phase.name in ("look", "name"):
                seen = self.model.model.vision_tower(batch["pixel_values"]).last_hidden_state[:, 1:]
                if phase.name == "look":
                    loss, right = self.reader(seen, batch["things"], batch["characters"])
                else:
                    loss, right = naming_loss(self.model, seen, batch["things"], self.thing_tokens)
            else:
                loss, right = answer_loss(self.model, batch)
        loss.backward()
        for group in optimizer.param_groups:
            nn.utils.clip_grad_norm_(group["params"], 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item(), right.item()

    def _state_file(self) -> Path:
        return self.folder / "state.pt"

    def _save(self, phase: int, step: int, optimizer: Any, schedule: Any) -> None:
        state = {
            "phase": phase,
            "step": step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "reader": self.reader.state_dict(),
            "optimizer": optimizer and optimizer.state_dict(),
            "schedule": schedule and schedule.state_dict(),
        }
        with replacing(self._state_file()) as partial:
            torch.save(state, partial)

    def _load(self) -> dict[str, Any]:
        if not self._state_file().exists():
            return {"phase": 0, "step": 0}
        state: dict[str, Any] = torch.load(self._state_file(), weights_only=True)
        self.model.load_state_dict(state["model"])
        self.reader.load_state_dict(state["reader"])
        self.seconds = state["seconds"]
        return state


def thing_tokens(tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """The one or two tokens that name each of THINGS, int64 (things, 2); the image token for what has no name."""
    rows = []
    for thing in THINGS:
        words = thing.removeprefix("word ").removeprefix("sprite ").split()
        ids = tokenizer.convert_tokens_to_ids(words)
        known = [i for i in ids if i != tokenizer.unk_token_id] or [tokenizer.convert_tokens_to_ids("<image>")]
        rows.append([known[0], known[-1]])
    return torch.tensor(rows)


def naming_loss(
    model: LlavaForConditionalGeneration, seen: Tensor, things: Tensor, names: Tensor
) -> tuple[Tensor, Tensor]:
    """How well each projected patch points at the embeddings of the words that name what lies in it.

    Shapes: seen (B, P, tower width), things int64 (B, P), names int64 (things, 2). Returns the loss and the share of
    patches holding something whose first choice is one of its names, both scalars.
    """
    embeddings = model.get_input_embeddings().weight
    shown = model.model.multi_modal_projector(seen)
    scores = (shown @ embeddings.T).float().flatten(0, 1) * embeddings.shape[1]
    wanted = names[things.flatten()]
    weight = torch.where(things.flatten() > 0, 1.0, NOTHING_WEIGHT)
    each = -scores.log_softmax(-1).gather(1, wanted).mean(1)
    first = scores.argmax(-1, keepdim=True)
    right = (first == wanted).any(1)[things.flatten() > 0].float().mean()
    return (each * weight).sum() / weight.sum(), right


def answer_loss(model: LlavaForConditionalGeneration, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the answers and the share of answer tokens predicted, both scalars."""
    labels = batch["labels"][:, 1:]
    states = model.model(
        pixel_values=batch["pixel_values"], input_ids=batch["input_ids"], use_cache=False
    ).last_hidden_state[:, :-1]
    wanted = labels != NO_LOSS
    scores = model.lm_head(states[wanted]).float()
    right = (scores.argmax(-1) == labels[wanted]).float().mean()
    return nn.functional.cross_entropy(scores, labels[wanted]), right
