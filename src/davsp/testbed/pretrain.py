"""Training the testbed model: look (vision tower), speak (decoder), name (projector), care and practise (all of it).

Tower and decoder first learn apart, the one to say what lies in each patch, the other to answer when it is embeddings
what lies in each patch; `name` joins them, and `care` goes on with both tasks on real images.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

from davsp.errors import MALFORMED, ArtefactError
from davsp.models.tokens import NO_LABEL
from davsp.testbed.architecture import Architecture
from davsp.testbed.patches import NOTHING_WEIGHT, THINGS, PatchReader
from davsp.testbed.recipe import ARCHITECTURES, Batch, Batches, Phase, PretrainingRecipe
from davsp.util.files import load_tensors, save_tensors

DECISION_WEIGHT = 3.0
"""How many times the first token of an answer counts among the others."""
LOOKING_WEIGHT = 0.5
"""Weight of what lies in each patch beside the answers in the last phase."""


@dataclass(frozen=True)
class Progress:
    """What the recipe tells its caller after every step.

    `step` of `steps` is the phase's, `done` are the steps of the whole recipe; `seconds` counts from its start.
    """

    phase: str
    step: int
    steps: int
    done: int
    loss: float
    right: float
    seconds: float


@dataclass
class Run:
    """A run of the recipe in a folder that holds its state."""

    recipe: PretrainingRecipe
    folder: Path

    def __post_init__(self) -> None:
        self.vlm = ARCHITECTURES[self.recipe.architecture](self.recipe.seed)
        self.model, self.processor = self.vlm.model, self.vlm.processor
        torch.manual_seed(self.recipe.seed + 1)
        self.reader = PatchReader(self.vlm.feature_width)
        self.thing_tokens = thing_tokens(self.processor.tokenizer, self.vlm.image_token_id)
        self.seconds = 0.0

    def train(self, report: Callable[[Progress], None], stop_after: int | None = None) -> None:
        """Run every phase, going on from the saved state if there is one. `stop_after`: steps of this call."""
        state = self._load()
        begun = time.monotonic() - self.seconds
        taken = 0
        for number, phase in enumerate(self.recipe.phases):
            if number < state["phase"]:
                continue
            optimizer, schedule = self._optimizer(phase)
            before = sum(earlier.steps for earlier in self.recipe.phases[:number])
            start = state["step"] if number == state["phase"] else 0
            if phase.name == "speak" and start == 0:
                # What is shown are input embeddings: let the decoder start from saying what it is shown.
                with torch.no_grad():
                    self.model.lm_head.weight.copy_(self.model.get_input_embeddings().weight)
            if start:
                optimizer.load_state_dict(state["optimizer"])
                schedule.load_state_dict(state["schedule"])
            for step, batch in self._batches(phase, start):
                loss, right = self._step(phase, batch, optimizer)
                schedule.step()
                taken += 1
                done = before + step + 1
                self.seconds = time.monotonic() - begun
                report(Progress(phase.name, step + 1, phase.steps, done, loss, right, self.seconds))
                if ((step + 1) % self.recipe.save_every == 0 and step + 1 < phase.steps) or taken == stop_after:
                    self._save(number, step + 1, optimizer, schedule)
                if taken == stop_after:
                    return
            self._save(number + 1, 0, None, None)

    def _batches(self, phase: Phase, start: int) -> Iterable[tuple[int, Batch]]:
        data = Batches(self.recipe, phase)
        steps = range(start, phase.steps)
        workers = self.recipe.workers
        loader = DataLoader(
            data, batch_size=None, sampler=steps, num_workers=workers, prefetch_factor=4 if workers else None
        )
        return zip(steps, loader, strict=True)

    def _optimizer(self, phase: Phase) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
        projector = list(self.vlm.projector.parameters())
        decoder = [*self.model.get_decoder().parameters(), *self.model.lm_head.parameters()]
        everything = [*projector, *decoder, *self.reader.parameters()]
        trained = {
            "look": list(self.reader.parameters()),
            "speak": decoder,
            "name": projector,
            "care": everything,
            "practise": everything,
        }[phase.name]
        groups: list[dict[str, Any]] = [{"params": trained, "lr": phase.rate}]
        if phase.tower_rate:
            groups.append({"params": self.vlm.tower, "lr": phase.rate * phase.tower_rate})
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
            match phase.name:
                case "look":
                    features = self.vlm.encode(batch["pixel_values"])
                    loss, right = self.reader(features, batch["things"], batch["characters"])
                case "name":
                    features = self.vlm.encode(batch["pixel_values"])
                    loss, right = naming_loss(self.vlm, features, self.thing_tokens[batch["things"]])
                case "speak":
                    embeddings = name_embeddings(self.vlm, self.thing_tokens[batch["things"]])
                    loss, right = answer_loss(self.vlm, batch, embeddings)
                case _:
                    features = self.vlm.encode(batch["pixel_values"])
                    looking, _ = self.reader(features, batch["things"], batch["characters"])
                    answering, right = answer_loss(self.vlm, batch, self.vlm.project(features))
                    loss = answering + LOOKING_WEIGHT * looking
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
        save_tensors(self._state_file(), state)

    def _load(self) -> dict[str, Any]:
        if not self._state_file().exists():
            return {"phase": 0, "step": 0}
        try:
            state: dict[str, Any] = load_tensors(self._state_file())
            self.model.load_state_dict(state["model"])
            self.reader.load_state_dict(state["reader"])
            self.seconds = state["seconds"]
        except (RuntimeError, *MALFORMED) as error:  # what does not fit a module is a RuntimeError
            raise ArtefactError(
                f"{self._state_file()} is damaged or of another recipe: delete it to start again."
            ) from error
        return state


def thing_tokens(tokenizer: PreTrainedTokenizerFast, nameless: int) -> Tensor:
    """The two tokens that name each of THINGS, int64 (things, 2): twice the same where one will do.

    Words and sprites are named by their word, signs by "sign", what has no name by the token `nameless`.
    """
    rows = []
    for thing in THINGS:
        sort, _, name = thing.partition(" ")
        words = {"nothing": [""], "word": [name], "sprite": [name], "sign": ["sign"]}.get(sort, [sort, name])
        ids = [nameless if i == tokenizer.unk_token_id else i for i in tokenizer.convert_tokens_to_ids(words)]
        rows.append([ids[0], ids[-1]])
    return torch.tensor(rows)


def name_embeddings(vlm: Architecture, names: Tensor) -> Tensor:
    """What a patch says to the decoder: the mean embedding of its two names. names int64 (B, P, 2) to (B, P, width)."""
    embeddings: Tensor = vlm.model.get_input_embeddings()(names).mean(-2)
    return embeddings


def naming_loss(vlm: Architecture, features: Tensor, names: Tensor) -> tuple[Tensor, Tensor]:
    """How far each projected patch is from what it should say, as a share of the embeddings' variance.

    Shapes: features (B, P, tower width), names int64 (B, P, 2). Returns the loss and the share of patches holding
    something that lie nearest to one of their names, both scalars.
    """
    embeddings = vlm.model.get_input_embeddings().weight
    projected = vlm.project(features).float()
    something = names[..., 0] != vlm.image_token_id
    weight = torch.where(something, 1.0, NOTHING_WEIGHT)
    each = (projected - name_embeddings(vlm, names)).square().mean(-1) / embeddings.var()
    with torch.no_grad():
        nearest = torch.cdist(projected[something], embeddings).argmin(-1, keepdim=True)
        right = (nearest == names[something]).any(1).float().mean()
    return (each * weight).sum() / weight.sum(), right


def decoder_states(vlm: Architecture, batch: Batch, patch_embeddings: Tensor) -> Tensor:
    """The decoder's final states (B, T, width), with `patch_embeddings`, (B, P, width), at the image's tokens."""
    ids = batch["input_ids"]
    inputs = vlm.model.get_input_embeddings()(ids)
    patches = (ids == vlm.image_token_id).unsqueeze(-1)
    inputs = inputs.masked_scatter(patches, patch_embeddings.to(inputs.dtype))
    height, width = batch["canvas"].tolist()
    positions = vlm.positions(ids, (height, width))
    outputs = vlm.model.get_decoder()(inputs_embeds=inputs, position_ids=positions, use_cache=False)
    states: Tensor = outputs.last_hidden_state
    return states


def answer_loss(vlm: Architecture, batch: Batch, patch_embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the answers, each the mean over its tokens, and the share of tokens predicted; both scalars.

    `patch_embeddings`, (B, P, width), is what each patch says to the decoder. The first token of an answer decides
    whether it is a refusal: it counts DECISION_WEIGHT times, and its loss is the expected one under the odds of a
    refusal, which teaches the odds with far fewer examples than their outcomes would.
    """
    labels = batch["labels"][:, 1:]
    states = decoder_states(vlm, batch, patch_embeddings)[:, :-1]
    answered = labels != NO_LABEL
    scores = vlm.model.lm_head(states[answered]).float()
    right = (scores.argmax(-1) == labels[answered]).float().mean()
    each = nn.functional.cross_entropy(scores, labels[answered], reduction="none")
    rows = answered.nonzero()[:, 0]
    first = torch.cat([rows[:1] >= 0, rows[1:] != rows[:-1]])
    choices = scores[first].log_softmax(-1).gather(1, batch["openings"])
    odds = torch.stack([1 - batch["refusal"], batch["refusal"]], dim=1)
    deciding = -DECISION_WEIGHT * (odds * choices).sum(1)
    following = torch.zeros_like(deciding).index_add(0, rows[~first], each[~first])
    return ((deciding + following) / (answered.sum(1) + DECISION_WEIGHT - 1)).mean(), right
