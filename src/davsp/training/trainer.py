"""Training a visual prompt by Deep Alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from davsp.errors import InputError
from davsp.prompts.visual import VisualPrompt
from davsp.training.batches import Shuffle
from davsp.training.config import Sampling, Start
from davsp.training.constraint import LOOKALIKES, excess
from davsp.training.front import SIGNS, Front, figures
from davsp.training.loop import Fitting, Report, run_steps
from davsp.training.objective import Objective, class_of
from davsp.training.optim import PixelOptimizer
from davsp.training.outcome import front_table, outcome_lines
from davsp.training.run_state import Record
from davsp.util.batching import batched
from davsp.util.processes import processes

if TYPE_CHECKING:
    from rich.table import Table


@dataclass
class Trainer(Fitting):
    """A prompt in training, with its optimiser.

    One objective for each model that the prompt is trained for; their losses are added up. All of them are of one
    configuration, one layout and the same queries. Validation, every `config.validate_every` steps, decides which
    prompt is kept: `best`, that of the largest `quality`; where divergences have bounds, the safest of those within
    them, or the nearest to them. Raises InputError when the models see the prompt in different layouts.
    """

    several_processes = True

    objectives: Sequence[Objective]
    best: Tensor = field(init=False)
    """float32 (3, H, W)"""
    best_record: dict[str, float] = field(init=False, default_factory=dict)
    """The validation record of `best`, with its "step"; empty before the first."""
    front: Front = field(init=False, default_factory=Front)

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
            self.prompt, self.layout, config.method, config.step_size, config.cosine_decay, config.steps, config.clamp
        )
        self.order = [Shuffle(len(side), config.seed, i) for i, side in enumerate(first.sides)]
        self.drawn = [0, 0]
        self.steps = config.steps
        self._bounded = any(m.bound for objective in self.objectives for m in objective.multipliers.values())

    def run(self, folder: Path, *, quiet: bool = False, report: Report = lambda record: None) -> VisualPrompt:
        """Train to the end, going on from the state saved in `folder`, and return the best prompt.

        `report` gets every record that is logged. Raises what `davsp.training.loop.run_steps` raises.
        """
        every, title = self.config.validate_every, f"Training {folder.name}"
        run_steps(self, folder, title=title, save_every=every, quiet=quiet, report=report)
        return VisualPrompt(self.layout, self.best.cpu())

    def step(self, number: int) -> Record:
        """One update of the prompt, to which every process contributes the gradients of its micro-batches.

        They are added up in float64, so that the sum does not depend on how many processes there are: Adam, which
        divides by each pixel's own gradient, would show it. Returns the losses and mean projections of the whole
        batch, and the step's size in pixel units as "rate".
        """
        config, together = self.config, processes()
        rng = np.random.default_rng([config.seed, 2, number])
        both = config.sampling is Sampling.BOTH
        chosen = (False, True) if both else (bool(rng.random() < 0.5),)
        size = max(1, config.batch_size // 2) if both else config.batch_size
        work: list[tuple[bool, bool, Sequence[int]]] = []
        benign: Sequence[int] = ()
        for malicious in chosen:
            length = self.objectives[0].sides[malicious].length
            indices = sorted(self.order[malicious].take(self.drawn[malicious], size), key=length)
            self.drawn[malicious] += size
            benign = benign if malicious else indices
            answered = not malicious or bool(rng.random() < config.refusal_share)
            work += [(malicious, answered, part) for part in batched(indices, config.micro_batch)]
        if len(work) < together.count:
            raise InputError(
                f"{together.count} processes cannot share {len(work)} micro-batches: raise batch_size "
                f"({config.batch_size}), lower micro_batch ({config.micro_batch}), or start fewer processes."
            )
        prompt = self.prompt.clone().requires_grad_()
        gradient = torch.zeros_like(self.prompt, dtype=torch.float64)
        own: list[dict[str, Tensor]] = []
        for malicious, answered, part in together.shard(work):
            share = len(part) / size
            facts: dict[str, Tensor] = {}
            for i, objective in enumerate(self.objectives):
                found, scalars = objective.gradient(prompt, malicious, part, answered, number)
                gradient += found.double() * share
                facts |= {self._named(i, name): value * share for name, value in scalars.items()}
            own.append(facts)
        together.all_reduce(gradient)
        rate = self.optimizer.rate()
        self.optimizer.step(gradient.to(prompt.dtype))
        record: Record = {"rate": rate}
        for numbers in together.all_gather(self._numbers(own)):
            for name, figure in numbers.items():
                record[name] = record.get(name, 0.0) + figure
        return record | self._ascend(record, benign, size)

    def _ascend(self, record: Record, benign: Sequence[int], size: int) -> Record:
        """Move the multipliers by the divergences of a step's benign queries; the divergences as means over the
        queries of their classes, and the multipliers by which they were weighted."""
        told: Record = {}
        for i, objective in enumerate(self.objectives):
            classes = [class_of(objective.sides[False].queries[k]) for k in benign] if objective.multipliers else []
            for name in dict.fromkeys(classes):
                multiplier, figure = objective.multipliers[name], self._named(i, f"{name}_divergence")
                told[figure] = record[figure] * size / classes.count(name)
                told[self._named(i, f"{name}_multiplier")] = multiplier.value
                multiplier.ascend(told[figure])
        return told

    def _numbers(self, scalars: Sequence[dict[str, Tensor]]) -> list[dict[str, float]]:
        """Scalars of a device as numbers: all at once, at the end of a step, so that a GPU is waited for but once."""
        flat = [value.to(self.prompt.device) for facts in scalars for value in facts.values()]
        numbers = iter(torch.stack(flat).tolist() if flat else [])
        return [dict(zip(facts, numbers, strict=False)) for facts in scalars]

    def _named(self, number: int, name: str) -> str:
        """How a figure of one objective is called among those of all."""
        return name if len(self.objectives) == 1 else f"{name}_{number + 1}"

    def progress(self, step: Record, validation: Record | None) -> str:
        """The step's loss, weighted as it is descended, its projections, and what the last validation found."""
        weights = {"answer_loss": self.config.answer_weight, "alignment_loss": self.config.alignment_weight}
        loss = sum(weight * value for part, weight in weights.items() for value in figures(step, part))
        projected = {side: figures(step, f"{side}_projection") for side in ("malicious", "benign")}
        told = [f"loss {loss:.3g}"]
        if divergences := figures(step, "divergence"):
            told.append(f"divergence {fmean(divergences):.2g} x {fmean(figures(step, 'multiplier')):.2g}")
        if any(projected.values()):
            told.append(", ".join(f"{side} {fmean(values):.1f}" for side, values in projected.items() if values))
        if validation:
            found = {name: figures(validation["validation"], name) for name in SIGNS}
            shares = (
                f"{name.replace('_', '-')} {100 * fmean(values):.0f} %" for name, values in found.items() if values
            )
            told.append(f"step {validation['step']}: {', '.join(shares)}")
        return "; ".join(told)

    def outcome(self, untrained: Record, last: Record) -> list[str]:
        """Lines for a user: what the prompt that is kept does on the validation queries of each model, and what the
        untrained one and the last one did, by their validation records."""
        lines = []
        projections = [f"{side}_projection{of}" for side in ("malicious", "benign") for of in ("", "_std")]
        for i, objective in enumerate(self.objectives):
            benign, malicious = map(len, objective.validation_sides)
            before, after, ended = (
                {name: record[self._named(i, name)] for name in ("refused", "kept", "quality", *projections)}
                for record in (untrained, self.best_record, last)
            )
            after["step"] = self.best_record["step"]
            answered = min(malicious, self.config.validation_answers)
            told = outcome_lines(before, after, ended, answered, malicious, benign)
            lines += told if len(self.objectives) == 1 else [f"{objective.model.name}: {line}" for line in told]
        return lines

    def front_table(self, untrained: Record) -> Table:
        """The validated prompts that no other beats, and the untrained one, by its validation record."""
        benign, malicious = self.objectives[0].validation_sides
        alike = sum(class_of(query) == LOOKALIKES for query in benign.queries)
        most, times = self.config.validation_answers, len(self.objectives)
        counts = {"refused": min(len(malicious), most), "kept": len(benign), "over_refusal": min(alike, most)}
        points = [record for record, _ in self.front.points]
        if self.best_record not in points:
            points = sorted([*points, self.best_record], key=lambda record: float(record["step"]))
        kept = int(self.best_record["step"])
        return front_table(untrained, points, kept, {name: n * times for name, n in counts.items()})

    def validation_record(self) -> Record:
        """What each objective finds of the prompt; `quality` is the mean of theirs."""
        records = [objective.validation_record(self.prompt) for objective in self.objectives]
        named = {self._named(i, name): value for i, record in enumerate(records) for name, value in record.items()}
        return named | {"quality": sum(record["quality"] for record in records) / len(records)}

    def validate(self, done: int) -> Record:
        """Measure the prompt on the validation queries, and keep it if none was better."""
        record = self.validation_record()
        if done > 0:
            found = {"step": float(done), **record}
            if not self.best_record or self._rank(record) >= self._rank(self.best_record):
                self.best_record = found
                self.best = self.prompt.clone()
            self.front.add(found, self.prompt)
        return record

    def _rank(self, record: Record) -> tuple[float, ...]:
        """What decides between two validated prompts, by their records."""
        beyond = [
            excess(
                objective.multipliers,
                {name: record.get(self._named(i, f"{name}_divergence"), 0.0) for name in objective.multipliers},
            )
            for i, objective in enumerate(self.objectives)
        ]
        bounded = (-max(0.0, *beyond), fmean(figures(record, "refused"))) if self._bounded else ()
        return (*bounded, record["quality"])

    def identity(self) -> Record:
        parts = [objective.identity() for objective in self.objectives]
        return {name: [part[name] for part in parts] for name in parts[0]}

    def state(self) -> Record:
        return {
            "prompt": self.prompt.detach().cpu(),
            "optimizer": self.optimizer.state_dict(),
            "drawn": self.drawn,
            "best": self.best.cpu(),
            "best_record": self.best_record,
            "front": [[record, prompt] for record, prompt in self.front.points],
            "multipliers": [{name: m.value for name, m in o.multipliers.items()} for o in self.objectives],
        }

    def restore(self, state: Record) -> None:
        self.prompt.copy_(state["prompt"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.drawn = list(state["drawn"])
        self.best = state["best"].to(self.prompt.device)
        self.best_record = dict(state["best_record"])
        self.front = Front([(dict(record), prompt) for record, prompt in state.get("front", ())])
        for objective, values in zip(self.objectives, state.get("multipliers", ()), strict=False):
            for name, value in values.items():
                objective.multipliers[name].value = float(value)
