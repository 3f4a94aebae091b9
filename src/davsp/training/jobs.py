"""Whole jobs of training: vectors made once and kept, objectives, dry runs."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.text import Text

from davsp.data.query import Query, check_unique
from davsp.models.base import VisionLanguageModel
from davsp.training.choices import Direction, FitOn
from davsp.training.config import Benign, TrainConfig
from davsp.training.objective import Objective, plan
from davsp.training.outcome import layer_warning
from davsp.training.own_answers import own_targets
from davsp.training.trainer import Trainer
from davsp.training.undefended import undefended_distributions
from davsp.training.vector import HarmfulnessVector, extract_vector, origin_of
from davsp.util.files import check_same_run
from davsp.util.processes import processes
from davsp.util.progress import bar


def make_objectives(
    models: Sequence[tuple[VisionLanguageModel, HarmfulnessVector]],
    config: TrainConfig,
    training: Sequence[Query],
    validation: Sequence[Query],
    folder: Path | None = None,
    *,
    quiet: bool = False,
) -> list[Objective]:
    """An objective for each model. The models' own answers to queries that bring none are kept in `folder`.

    Raises what `plan` raises where options, model and vector do not fit together, InputError for an id of two queries.
    """
    for queries in (training, validation):
        check_unique("query id", [query.id for query in queries])
    plans = [plan(model, vector, config) for model, vector in models]
    validation = _apart(training, validation)
    diverging = config.benign is Benign.DIVERGENCE
    if diverging:  # what counts is what the model itself says
        training, validation = (
            [q if q.malicious else replace(q, answer=None) for q in s] for s in (training, validation)
        )
    asked, tokens = [*training, *validation], config.own_answer_tokens
    benign = [query for query in asked if not query.malicious]
    answering = asked if config.refusal_share > 0 and config.answer_weight > 0 else benign
    files = [folder / numbered("own_answers", i, ".json") if folder else None for i in range(len(models))]
    own = [
        own_targets(model, answering, tokens, file, quiet=quiet) for (model, _), file in zip(models, files, strict=True)
    ]
    undefended = [
        undefended_distributions(
            model,
            benign,
            targets,
            config.divergence_top,
            folder / numbered("undefended", i, ".safetensors") if folder else None,
            quiet=quiet,
        )
        if diverging
        else None
        for i, ((model, _), targets) in enumerate(zip(models, own, strict=True))
    ]
    return [
        Objective(model, filled, vector.direction(filled.layer), training, validation, targets, distributions)
        for (model, vector), filled, targets, distributions in zip(models, plans, own, undefended, strict=True)
    ]


def _apart(training: Sequence[Query], validation: Sequence[Query]) -> Sequence[Query]:
    """Validation queries, under ids of their own where two files number their queries alike."""
    taken = {query.id for query in training}
    if not any(query.id in taken for query in validation):
        return validation
    return [replace(query, id=f"validation {query.id}") for query in validation]


def numbered(name: str, number: int, ending: str = "") -> str:
    """What a file of one of several models is called: that of the first is `name`."""
    return f"{name}{f'_{number + 1}' if number else ''}{ending}"


def vector_for(
    model: VisionLanguageModel,
    training: Sequence[Query],
    validation: Sequence[Query],
    prefix: str,
    folder: Path | None,
    *,
    direction: Direction = Direction.MEAN,
    fit_on: FitOn = FitOn.IMAGES,
    batch_size: int = 16,
    quiet: bool = False,
) -> HarmfulnessVector:
    """The vector in `folder`; where there is none yet, it is extracted from the training queries and saved there.

    Without a folder, it is extracted and not saved. Raises ArtefactError when the folder's is of another model,
    prefix or set of queries, or made in another way.
    """
    if folder and (folder / "vector.json").is_file():
        saved = HarmfulnessVector.load(folder)
        origin = origin_of(model, training, validation, prefix, direction, fit_on)
        added = ("weights", "data", "direction", "fit_on")
        check_same_run(folder, "the vector of another run", saved.origin, origin, added=added)
        return saved
    with bar("Harmfulness vector", len(training) + len(validation), quiet=quiet) as advance:
        vector = extract_vector(
            model,
            training,
            validation,
            prefix=prefix,
            batch_size=batch_size,
            advance=advance,
            direction=direction,
            fit_on=fit_on,
        )
    if folder and processes().is_main:
        vector.save(folder)
    if not quiet and processes().is_main:
        say_layer(vector)
    return vector


def say_layer(vector: HarmfulnessVector) -> None:
    """Warn the user where the vector's layer was chosen by few queries."""
    counts = vector.origin["validation"]
    if warning := layer_warning(vector.statistics, vector.layer, counts["malicious"], counts["benign"]):
        Console(stderr=True).print(Text(warning, style="bold yellow"))


def dry_run(
    models: Sequence[tuple[VisionLanguageModel, HarmfulnessVector]],
    config: TrainConfig,
    training: Sequence[Query],
    validation: Sequence[Query],
) -> dict[str, Any]:
    """What a training run would do and cost: the resolved options, shapes, memory, and time from two real steps."""
    trainer = Trainer(make_objectives(models, config, training, validation))
    trainer.step(0)
    begun = time.perf_counter()
    trainer.step(1)
    per_step = time.perf_counter() - begun
    begun = time.perf_counter()
    trainer.validation_record()
    per_validation = time.perf_counter() - begun
    validations = 1 + -(-config.steps // config.validate_every)
    sides = [side for objective in trainer.objectives for side in (*objective.sides, *objective.validation_sides)]
    return {
        "config": config.model_dump(mode="json"),
        "prompt": [3, *trainer.layout.size],
        "models": [_described(objective) for objective in trainer.objectives],
        "memory_mb": {
            "weights": sum(p.numel() * p.element_size() for m, _ in models for p in m.model.parameters()) / 2**20,
            "images_on_disk": sum(side.interiors.nbytes for side in sides) / 2**20,
            "peak_of_this_process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
            "peak_on_gpu": torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None,
        },
        "seconds": {
            "per_step": per_step,
            "per_validation": per_validation,
            "whole_run": per_step * config.steps + per_validation * validations,
        },
    }


def _described(objective: Objective) -> dict[str, Any]:
    """What a dry run says of each model."""
    return {
        "model": objective.model.name,
        "layer": objective.plan.layer,
        "tau_plus": objective.plan.tau_plus,
        "tau_minus": objective.plan.tau_minus,
        "hidden": objective.model.hidden_size,
        "interiors": sorted({shape for side in objective.sides for shape in side.interiors.shapes}),
        "longest_prompt_tokens": max(length for side in objective.sides for (length,) in side.prompts.shapes),
        "queries": {
            name: {"benign": len(sides[0]), "malicious": len(sides[1])}
            for name, sides in (("training", objective.sides), ("validation", objective.validation_sides))
        },
    }
