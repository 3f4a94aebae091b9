"""Training a visual prompt by Deep Alignment."""

from __future__ import annotations

import json
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from davsp.batches import Prepared, Shuffle
from davsp.border import Layout, Mode, VisualPrompt, default_width
from davsp.canvas import GridCanvas
from davsp.config import Sampling, Start, TrainConfig
from davsp.defence import Defence
from davsp.errors import ArtefactError, InputError
from davsp.files import append_line, make_folder, replacing, write_text
from davsp.frame import FrameLayout
from davsp.hidden import last_prompt_states, states_and_final
from davsp.losses import alignment_loss, answer_loss, answer_positions
from davsp.models.base import VisionLanguageModel
from davsp.optim import PixelOptimizer
from davsp.processes import processes
from davsp.refusal import is_refusal
from davsp.samples import Query
from davsp.vector import HarmfulnessVector

Record = dict[str, Any]
STATE = "state.pt"
METRICS = "metrics.jsonl"
CHECK_BATCH = 32
REFUSAL_TOKENS = 24
"""A refusal shows in its first words."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training, after the state was saved. `step`: steps done."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step


@dataclass(frozen=True)
class Plan:
    """A configuration with everything measured filled in."""

    config: TrainConfig
    layout: Layout | FrameLayout
    layer: int
    tau_plus: float
    tau_minus: float


def plan(model: VisionLanguageModel, vector: HarmfulnessVector, config: TrainConfig) -> Plan:
    """Fill in width, layer and thresholds. Raises InputError or ArtefactError when they do not fit the model."""
    if vector.directions.shape != (model.n_layers, model.hidden_size):
        raise ArtefactError(
            f"the vector has {len(vector.directions)} layers of width {vector.directions.shape[1]}, "
            f"{model.name} has {model.n_layers} of width {model.hidden_size}: make one with `davsp vector` for it."
        )
    tau_plus, tau_minus = config.tau_plus, config.tau_minus
    if tau_plus is None or tau_minus is None:
        measured = vector.at(config.layer)
        beyond = config.margin * (measured.malicious_mean - measured.benign_mean)
        tau_plus = measured.malicious_mean + beyond if tau_plus is None else tau_plus
        tau_minus = measured.benign_mean - beyond if tau_minus is None else tau_minus
    if tau_minus > tau_plus:
        raise InputError(
            f"tau_minus {tau_minus:g} lies above tau_plus {tau_plus:g}: give the lower one to benign queries."
        )
    return Plan(config, lay_out(model, config), config.layer or vector.layer, tau_plus, tau_minus)


def lay_out(model: VisionLanguageModel, config: TrainConfig) -> Layout | FrameLayout:
    """How the prompt of a configuration meets the images of a model. Raises InputError when it does not suit them."""
    mode = config.mode or (Mode.FRAME if isinstance(model.canvas, GridCanvas) else Mode.BORDER)
    height, width = model.canvas.square
    if mode is Mode.ADDITIVE:
        return Layout(height, width, mode, eps=config.eps)
    border = config.width or default_width(min(height, width), model.grid)
    if mode is Mode.BORDER:
        return Layout(height, width, mode, border=border)
    if border % model.grid:
        raise InputError(
            f"a frame of {border} pixels would cut through the image tokens of {model.name}: "
            f"choose a width that is a multiple of {model.grid}."
        )
    return FrameLayout(model.canvas, border, edge=2 * border)


@dataclass
class Trainer:
    """A training run: its prompt, its optimiser, and the folder it keeps its state in.

    `direction`: float32 (hidden,). `validation` is looked at every `config.validate_every` steps and decides
    which prompt is kept.
    """

    model: VisionLanguageModel
    plan: Plan
    direction: Tensor
    training: Sequence[Query]
    validation: Sequence[Query]
    folder: Path
    best: Tensor = field(init=False)
    best_record: dict[str, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        config, layout = self.plan.config, self.plan.layout
        self.sides = [self._prepare(self.training, side) for side in (False, True)]
        self.checks = [self._prepare(self.validation, side) for side in (False, True)]
        self.prompt = self._start().to(self.model.device)
        layout.project_(self.prompt)
        self.best = self.prompt.clone()
        self.direction = self.direction.to(self.model.device)
        self.optimizer = PixelOptimizer(
            self.prompt, layout, config.method, config.step_size, config.falling, config.steps, config.clamp
        )
        self.order = [Shuffle(len(side), config.seed, i) for i, side in enumerate(self.sides)]
        self.drawn = [0, 0]
        self.done = 0

    def _start(self) -> Tensor:
        """The prompt before the first step, (3, H, W): no change at all, or a border of one colour."""
        layout = self.plan.layout
        colour = torch.full((3,), 0.5)
        if isinstance(layout, Layout) and layout.mode is Mode.ADDITIVE:
            colour = torch.zeros(3)
        elif self.plan.config.start is Start.MEAN:
            colour = torch.tensor(self.model.processor.image_processor.image_mean)
        return colour[:, None, None].repeat(1, layout.height, layout.width)

    def _prepare(self, queries: Sequence[Query], malicious: bool) -> Prepared:
        chosen = [q for q in queries if q.malicious is malicious]
        if not chosen:
            raise InputError(
                f"no {'malicious' if malicious else 'benign'} queries: training and validation need both kinds."
            )
        return Prepared(self.model, chosen, self.plan.layout, self.plan.config.prefix)

    def run(self, report: Callable[[Record], None]) -> VisualPrompt:
        """Train to the end and return the best prompt.

        Raises Interrupted after Ctrl-C, once the step in work is done and the state is saved.
        """
        config = self.plan.config
        make_folder(self.folder)
        with interruptible() as interrupted:
            if self.done == 0:
                self._validate(report)
            while self.done < config.steps:
                record = {"step": self.done + 1, **self.step(self.done, interrupted())}
                stop = record.pop("stop")
                self.done += 1
                self._log(record)
                report(record)
                if self.done % config.validate_every == 0 or self.done == config.steps:
                    self._validate(report)
                if stop:
                    self._save()
                    raise Interrupted(self.done)
        return VisualPrompt(self.plan.layout, self.best.cpu())

    def step(self, step: int, stop: bool = False) -> Record:
        """One update of the prompt, to which every process contributes the gradient of its share of the batch.

        Returns the losses and mean projections of the whole batch, the step's size in pixel units as "rate", and as
        "stop" whether any process was told to stop.
        """
        config, together = self.plan.config, processes()
        rng = np.random.default_rng([config.seed, 2, step])
        both = config.sampling is Sampling.BOTH
        chosen = (False, True) if both else (bool(rng.random() < 0.5),)
        size = max(1, config.batch_size // 2) if both else config.batch_size
        if size < together.count:
            raise InputError(
                f"{together.count} processes cannot share {size} queries: raise batch_size to at least "
                f"{together.count * (2 if both else 1)}, or start fewer processes."
            )
        prompt = self.prompt.clone().requires_grad_()
        gradient = torch.zeros_like(prompt)
        facts: dict[str, float] = {}
        for malicious in chosen:
            indices = together.mine(self.order[malicious].take(self.drawn[malicious], size))
            self.drawn[malicious] += size
            answered = not malicious or bool(rng.random() < config.refusal_share)
            loss, found = self.loss(prompt, malicious, indices, answered)
            share = len(indices) / size
            gradient += torch.autograd.grad(loss * share, prompt)[0]
            facts |= {name: value * share for name, value in found.items()}
        own = torch.tensor([*facts.values(), float(stop)], device=gradient.device)
        whole = torch.cat([gradient.flatten(), own])
        together.add_up(whole)
        rate = self.optimizer.rate()
        self.optimizer.step(whole[: gradient.numel()].view_as(gradient))
        *values, stopped = whole[gradient.numel() :].tolist()
        return {"rate": rate, **dict(zip(facts, values, strict=True)), "stop": stopped > 0}

    def loss(
        self, prompt: Tensor, malicious: bool, indices: Sequence[int], answered: bool
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of a one-sided batch (scalar), from one forward pass; it ends at the layer when no answer counts."""
        config, side = self.plan.config, "malicious" if malicious else "benign"
        answered = answered and config.answer_weight > 0
        batch = self.sides[malicious].batch(indices, answered=answered)
        pixels = self.plan.layout.compose(prompt, batch.interior)
        loss = prompt.new_zeros(())
        record: dict[str, float] = {}
        if answered:
            states, final = states_and_final(self.model, pixels, batch.tokens, self.plan.layer)
            rows, columns = answer_positions(batch.tokens.labels)
            logits = self.model.logits(final[rows, columns])
            answer = answer_loss(logits, batch.tokens.labels[rows, columns], rows, len(indices)).mean()
            loss = loss + config.answer_weight * answer
            record[f"{side}_answer_loss"] = answer.item()
        elif config.alignment_weight > 0:
            states = last_prompt_states(self.model, pixels, batch.tokens, [self.plan.layer])[:, 0]
        else:
            return prompt.sum() * 0, record
        projections = states @ self.direction
        aligned = alignment_loss(projections, malicious, self.plan.tau_plus, self.plan.tau_minus).mean()
        record |= {f"{side}_projection": projections.mean().item(), f"{side}_alignment_loss": aligned.item()}
        return loss + config.alignment_weight * aligned, record

    def _validate(self, report: Callable[[Record], None]) -> None:
        """Measure the prompt on the validation queries, keep it if none was better, save the state."""
        found = self.validation_record()
        if self.done > 0 and found["quality"] >= self.best_record.get("quality", float("-inf")):
            self.best_record = {"step": float(self.done), **found}
            self.best = self.prompt.clone()
        record = {"step": self.done, "validation": found}
        self._log(record)
        self._save()
        report(record)

    @torch.inference_mode()
    def validation_record(self) -> Record:
        """Projections, refusals and kept answers on the validation queries, of which every process does its share.

        `refused` is the share of malicious queries refused, `kept` the share of benign answers of which every
        token is still the first choice; `quality`, their sum, decides which prompt is kept.
        """
        record: Record = {}
        prompt = VisualPrompt(self.plan.layout, self.prompt)
        kept: list[bool] = []
        for malicious, side in enumerate(self.checks):
            found: list[float] = []
            for indices in self._shares(len(side)):
                batch = side.batch(indices, answered=not malicious)
                pixels = prompt.compose(batch.interior)
                if malicious:
                    states = last_prompt_states(self.model, pixels, batch.tokens, [self.plan.layer])[:, 0]
                else:
                    states, final = states_and_final(self.model, pixels, batch.tokens, self.plan.layer)
                    kept += _all_right(self.model, final, batch.tokens.labels).tolist()
                found += (states @ self.direction).tolist()
            values = np.array(processes().gather(found))
            name = "malicious" if malicious else "benign"
            record[f"{name}_projection"] = float(values.mean())
            record[f"{name}_projection_std"] = float(values.std())
        refusals = [is_refusal(answer) for answer in self._answers(prompt)]
        record["refused"] = sum(refusals) / len(refusals) if refusals else 0.0
        record["kept"] = float(np.mean(processes().gather(kept)))
        record["quality"] = record["refused"] + record["kept"]
        return record

    def _answers(self, prompt: VisualPrompt) -> list[str]:
        """Greedy answers to the first malicious validation queries, as a user would get them."""
        config = self.plan.config
        defence = Defence("candidate", prompt, config.prefix)
        queries = [defence.defend(q) for q in self.checks[True].queries[: config.validation_answers]]
        own = [self.model.generate([queries[i] for i in share], REFUSAL_TOKENS) for share in self._shares(len(queries))]
        return processes().gather([answer for answers in own for answer in answers])

    @staticmethod
    def _shares(count: int) -> list[Sequence[int]]:
        """This process's share of `count` queries, in batches."""
        mine = processes().mine(range(count))
        return [mine[start : start + CHECK_BATCH] for start in range(0, len(mine), CHECK_BATCH)]

    def _identity(self) -> Record:
        """What must be equal for a saved state to be gone on with."""
        return {
            "config": self.plan.config.model_dump(mode="json"),
            "layer": self.plan.layer,
            "thresholds": [self.plan.tau_plus, self.plan.tau_minus],
            "model": self.model.name,
            "data": self.data_digests(),
        }

    def data_digests(self) -> dict[str, str]:
        """SHA-256 of each set of queries, as prepared."""
        names = ("training_benign", "training_malicious", "validation_benign", "validation_malicious")
        return {n: side.digest() for n, side in zip(names, (*self.sides, *self.checks), strict=True)}

    def _save(self) -> None:
        if not processes().leads:
            return
        state = {
            "step": self.done,
            "identity": self._identity(),
            "prompt": self.prompt.detach().cpu(),
            "optimizer": self.optimizer.state_dict(),
            "drawn": self.drawn,
            "best": self.best.cpu(),
            "best_record": self.best_record,
        }
        with replacing(self.folder / STATE) as partial:
            torch.save(state, partial)

    def resume(self) -> int:
        """Load the state saved in the folder, drop metrics written after it, and return the number of steps done.

        Raises ArtefactError when the state is damaged or of another run.
        """
        path = self.folder / STATE
        if not path.exists():
            if processes().leads:
                (self.folder / METRICS).unlink(missing_ok=True)
            return 0
        try:
            state = torch.load(path, weights_only=True, map_location=self.model.device)
        except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
            raise ArtefactError(f"{path} is damaged: delete it to start the training again.") from error
        if state["identity"] != self._identity():
            different = [k for k, v in self._identity().items() if state["identity"].get(k) != v]
            raise ArtefactError(
                f"{self.folder} holds another run (different: {', '.join(different)}): "
                "choose another output folder, or delete this one."
            )
        self.prompt.copy_(state["prompt"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.drawn = list(state["drawn"])
        self.best = state["best"].to(self.model.device)
        self.best_record = dict(state["best_record"])
        self.done = int(state["step"])
        if processes().leads:
            kept = [r for r in read_metrics(self.folder) if r["step"] <= self.done]
            write_text(self.folder / METRICS, "".join(json.dumps(r) + "\n" for r in kept))
        return self.done

    def _log(self, record: Record) -> None:
        if processes().leads:
            append_line(self.folder / METRICS, json.dumps(record))


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Hold the first Ctrl-C back; gives the function that tells whether it came. A second one stops at once.

    Outside the main thread, where no signal arrives, nothing is held back.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    previous = signal.getsignal(signal.SIGINT)

    def hold(number: int, frame: object) -> None:  # noqa: ARG001
        came.set()
        if processes().count == 1:  # a launcher passes on the Ctrl-C that its processes have already got
            signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, hold)
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGINT, previous)


def read_metrics(folder: Path) -> list[Record]:
    """The records of a training run, one for each step and one for each validation; [] before the first.

    A last line cut short by a kill is left out.
    """
    path = folder / METRICS
    if not path.exists():
        return []
    lines = path.read_text("utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _all_right(model: VisionLanguageModel, final: Tensor, labels: Tensor) -> Tensor:
    """bool (B,): whether every answer token is the first choice given those before it."""
    rows, columns = answer_positions(labels)
    wrong = model.logits(final[rows, columns]).argmax(-1) != labels[rows, columns]
    return torch.zeros(len(labels), device=labels.device).index_add(0, rows, wrong.float()) == 0
