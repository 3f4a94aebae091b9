"""Training a visual prompt by Deep Alignment."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from davsp.errors import InputError
from davsp.prompts.visual import VisualPrompt
from davsp.training.batches import Shuffle, batched
from davsp.training.config import Sampling, Start
from davsp.training.objective import Objective
from davsp.training.optim import PixelOptimizer
from davsp.training.run_state import METRICS, STATE, Interrupted, Record, interruptible, saved_state
from davsp.util.files import append_line, make_folder, replacing
from davsp.util.processes import processes


@dataclass
class Trainer:
    """A training run: its prompt, its optimiser, and the folder it keeps its state in.

    One objective for each model that the prompt is trained for; their losses are added up. All of them are of one
    configuration, one layout and the same queries. Validation, every `config.validate_every` steps, decides which
    prompt is kept. Raises InputError when the models see the prompt in different layouts.
    """

    objectives: Sequence[Objective]
    folder: Path
    best: Tensor = field(init=False)
    best_record: dict[str, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        first = self.objectives[0]
        self.config, self.layout = first.plan.config, first.plan.layout
        for other in self.objectives[1:]:
            if other.plan.layout != self.layout:
                raise InputError(
                    f"{first.model.name} and {other.model.name} cannot share a prompt: one needs {self.layout}, "
                    f"the other {other.plan.layout}. Set mode=border, side and width to what suits both."
                )
        colour = torch.full((3,), 0.5)
        if self.config.start is Start.MEAN:
            colour = torch.tensor(first.model.processor.image_processor.image_mean)
        self.prompt = self.layout.start(colour).to(first.model.device)
        self.best = self.prompt.clone()
        config = self.config
        self.optimizer = PixelOptimizer(
            self.prompt, self.layout, config.method, config.step_size, config.falling, config.steps, config.clamp
        )
        self.order = [Shuffle(len(side), config.seed, i) for i, side in enumerate(first.sides)]
        self.drawn = [0, 0]
        self.done = 0

    def run(self, report: Callable[[Record], None]) -> VisualPrompt:
        """Train to the end and return the best prompt.

        Raises Interrupted after Ctrl-C, once the step in work is done and the state is saved.
        """
        config = self.config
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
        return VisualPrompt(self.layout, self.best.cpu())

    def step(self, step: int, stop: bool = False) -> Record:
        """One update of the prompt, to which every process contributes the gradients of its micro-batches.

        They are added up in float64, so that the sum does not depend on how many processes there are: Adam, which
        divides by each pixel's own gradient, would show it. Returns the losses and mean projections of the whole
        batch, the step's size in pixel units as "rate", and as "stop" whether any process was told to stop.
        """
        config, together = self.config, processes()
        rng = np.random.default_rng([config.seed, 2, step])
        both = config.sampling is Sampling.BOTH
        chosen = (False, True) if both else (bool(rng.random() < 0.5),)
        size = max(1, config.batch_size // 2) if both else config.batch_size
        work: list[tuple[bool, bool, Sequence[int]]] = []
        for malicious in chosen:
            length = self.objectives[0].sides[malicious].length
            indices = sorted(self.order[malicious].take(self.drawn[malicious], size), key=length)
            self.drawn[malicious] += size
            answered = not malicious or bool(rng.random() < config.refusal_share)
            work += [(malicious, answered, part) for part in batched(indices, config.micro_batch)]
        if len(work) < together.count:
            raise InputError(
                f"{together.count} processes cannot share {len(work)} micro-batches: raise batch_size "
                f"({config.batch_size}), lower micro_batch ({config.micro_batch}), or start fewer processes."
            )
        prompt = self.prompt.clone().requires_grad_()
        gradient = torch.zeros_like(self.prompt, dtype=torch.float64)
        own: list[tuple[dict[str, float], bool]] = []
        for malicious, answered, part in together.shard(work):
            share = len(part) / size
            facts: dict[str, float] = {}
            for number, objective in enumerate(self.objectives):
                loss, found = objective.loss(prompt, malicious, part, answered)
                gradient += torch.autograd.grad(loss * share, prompt)[0]
                facts |= {self._named(number, name): value * share for name, value in found.items()}
            own.append((facts, stop))
        together.all_reduce(gradient)
        rate = self.optimizer.rate()
        self.optimizer.step(gradient.to(prompt.dtype))
        record: Record = {"rate": rate, "stop": False}
        for facts, stopped in together.all_gather(own):
            record["stop"] |= stopped
            for name, value in facts.items():
                record[name] = record.get(name, 0.0) + value
        return record

    def _named(self, number: int, name: str) -> str:
        """How a figure of one objective is called among those of all."""
        return name if len(self.objectives) == 1 else f"{name}_{number + 1}"

    def validation_record(self) -> Record:
        """What each objective finds of the prompt; `quality` is the mean of theirs."""
        found = [objective.validation_record(self.prompt) for objective in self.objectives]
        record = {self._named(i, name): value for i, each in enumerate(found) for name, value in each.items()}
        return record | {"quality": sum(each["quality"] for each in found) / len(found)}

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

    def _identity(self) -> Record:
        """What must be equal for a saved state to be gone on with."""
        parts = [objective.identity() for objective in self.objectives]
        return {name: [part[name] for part in parts] for name in parts[0]}

    def _save(self) -> None:
        if not processes().is_main:
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
        state = saved_state(self.folder, self._identity, self.prompt.device)
        if state is None:
            return 0
        self.prompt.copy_(state["prompt"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.drawn = list(state["drawn"])
        self.best = state["best"].to(self.prompt.device)
        self.best_record = dict(state["best_record"])
        self.done = int(state["step"])
        return self.done

    def _log(self, record: Record) -> None:
        if processes().is_main:
            append_line(self.folder / METRICS, json.dumps(record))
