"""Whole jobs, as the command line and the demo run them: train and save a prompt; compare defences and report."""

from __future__ import annotations

import asyncio
import base64
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from davsp.artefact import PICTURE, TrainingFacts, VisualSafetyPrompt
from davsp.config import TrainConfig
from davsp.errors import MALFORMED, InputError
from davsp.exchange import AnyDefence, Exchange, Request, Response, answer_query
from davsp.files import check_same_run, write_json
from davsp.judges import Judge
from davsp.models.base import VisionLanguageModel
from davsp.objective import Objective, Record, plan
from davsp.processes import processes
from davsp.progress import bar
from davsp.samples import Query
from davsp.stored import BaseModelFacts
from davsp.train import Trainer, read_metrics
from davsp.vector import HarmfulnessVector, extract_vector, origin_of, project

if TYPE_CHECKING:
    from davsp.benchmarks.chosen import Chosen
    from davsp.report.evaluation import Transcript

REPORT_INPUTS = "report_inputs.json"
HISTOGRAM_QUERIES = 400


def train_prompt(
    models: Sequence[tuple[VisionLanguageModel, HarmfulnessVector]],
    config: TrainConfig,
    training: Sequence[Query],
    validation: Sequence[Query],
    folder: Path,
    *,
    tensorboard: bool = False,
    quiet: bool = False,
) -> VisualSafetyPrompt:
    """Train a prompt for one model or several in `folder`, going on from the state saved there, and save it there
    under the folder's name.

    Raises Interrupted on Ctrl-C, with the state saved, and what `Trainer` and `plan` raise.
    """
    trainer = Trainer(_objectives(models, config, training, validation), folder)
    write = _tensorboard(folder) if tensorboard and processes().leads else lambda record: None
    with bar(f"Training {folder.name}", config.steps, quiet=quiet) as advance:

        def report(record: Record) -> None:
            write(record)
            if "validation" not in record:
                advance(1)

        advance(trainer.resume())
        visual = trainer.run(report)
    first, *further = trainer.objectives
    prompt = VisualSafetyPrompt(
        folder.resolve().name,
        visual,
        config.prefix,
        base_model=BaseModelFacts.of(first.model),
        further_models=tuple(BaseModelFacts.of(other.model) for other in further),
        training=TrainingFacts(
            layer=first.plan.layer,
            tau_plus=first.plan.tau_plus,
            tau_minus=first.plan.tau_minus,
            config=config.model_dump(mode="json"),
            data=first.data_digests(),
            metrics=trainer.best_record,
        ),
        direction=first.direction.cpu(),
    )
    if processes().leads:
        prompt.save(folder)
    return prompt


def _objectives(
    models: Sequence[tuple[VisionLanguageModel, HarmfulnessVector]],
    config: TrainConfig,
    training: Sequence[Query],
    validation: Sequence[Query],
) -> list[Objective]:
    plans = [plan(model, vector, config) for model, vector in models]
    return [
        Objective(model, filled, vector.direction(filled.layer), training, validation)
        for (model, vector), filled in zip(models, plans, strict=True)
    ]


def vector_for(
    model: VisionLanguageModel,
    training: Sequence[Query],
    validation: Sequence[Query],
    prefix: str,
    folder: Path | None,
    *,
    batch_size: int = 16,
    quiet: bool = False,
) -> HarmfulnessVector:
    """The vector in `folder`; where there is none yet, it is extracted from the training queries and saved there.

    Without a folder, it is extracted and not saved. Raises ArtefactError when the folder's is of another model,
    prefix or set of queries.
    """
    if folder and (folder / "vector.json").is_file():
        saved = HarmfulnessVector.load(folder)
        wanted = origin_of(model, training, validation, prefix)
        check_same_run(folder, "the vector of another run", saved.origin, wanted)
        return saved
    with bar("Harmfulness vector", len(training) + len(validation), quiet=quiet) as advance:
        found = extract_vector(model, training, validation, prefix=prefix, batch_size=batch_size, advance=advance)
    if folder and processes().leads:
        found.save(folder)
    return found


def dry_run(
    models: Sequence[tuple[VisionLanguageModel, HarmfulnessVector]],
    config: TrainConfig,
    training: Sequence[Query],
    validation: Sequence[Query],
) -> dict[str, Any]:
    """What a training run would do and cost: the resolved options, shapes, memory, and time from two real steps."""
    trainer = Trainer(_objectives(models, config, training, validation), Path("unused"))
    trainer.step(0)
    begun = time.perf_counter()
    trainer.step(1)
    per_step = time.perf_counter() - begun
    begun = time.perf_counter()
    trainer.validation_record()
    per_validation = time.perf_counter() - begun
    validations = 1 + -(-config.steps // config.validate_every)
    kept = [side.interiors for objective in trainer.objectives for side in (*objective.sides, *objective.checks)]
    return {
        "config": config.model_dump(mode="json"),
        "prompt": [3, trainer.layout.height, trainer.layout.width],
        "models": [_described(objective) for objective in trainer.objectives],
        "memory_mb": {
            "weights": sum(p.numel() * p.element_size() for m, _ in models for p in m.model.parameters()) / 2**20,
            "images_on_disk": sum(spool.nbytes for spool in kept) / 2**20,
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
            for name, sides in (("training", objective.sides), ("validation", objective.checks))
        },
    }


def compare(
    model: VisionLanguageModel | str,
    defences: Sequence[AnyDefence],
    queries: Sequence[Query],
    folder: Path,
    *,
    title: str,
    training: Sequence[Record] = (),
    batch_size: int,
    max_new_tokens: int,
    seed: int = 0,
    judge: Judge | None = None,
    benchmark: Chosen | None = None,
    resume: bool = True,
    quiet: bool = False,
) -> dict[str, Any]:
    """Evaluate the defences on the queries and write results.json, transcripts and report.html to `folder`.

    `model` is a loaded one, or as `davsp.evaluate.run.evaluate` takes it; `benchmark` is that of the queries.
    Without `resume`, what logs in `folder` hold is asked again. `training`: the metrics of the training run to be
    plotted. Projections and border shown are those of the last defence that brings a direction; there are no
    projections of a model that is not loaded.
    """
    from davsp.evaluate.run import evaluate
    from davsp.report.evaluation import choose_transcripts

    results = evaluate(
        model,
        defences,
        queries,
        output=folder,
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
        seed=seed,
        judge=judge,
        benchmark=benchmark,
        resume=resume,
        progress=not quiet,
    )
    if not processes().leads:
        return results
    trained = [d for d in defences if isinstance(d, VisualSafetyPrompt) and d.direction is not None]
    picture, projections = None, {}
    if trained:
        shown = trained[-1]
        if not isinstance(model, str):
            projections = _projections(model, shown, queries[:: -(-len(queries) // HISTOGRAM_QUERIES)], batch_size)
        picture = shown.visual.to_png() if shown.visual else None
    inputs = {
        "title": title,
        "projections": projections,
        "training": list(training),
        "border": base64.b64encode(picture).decode() if picture else None,
        "transcripts": [
            _transcript_json(t) for t in choose_transcripts(folder / "transcripts.jsonl", queries, defences)
        ],
    }
    write_json(folder / REPORT_INPUTS, inputs)
    rebuild_report(folder)
    return results


def training_of(names: Sequence[str]) -> list[Record]:
    """The metrics of the first visual safety prompt's training among the names of defences; [] if there is none."""
    prompts = [Path(name) for name in names if (Path(name) / PICTURE).is_file()]
    return next((found for folder in prompts if (found := read_metrics(folder))), [])


def answer_behind(model: VisionLanguageModel, defence: AnyDefence, query: Query, max_new_tokens: int) -> str:
    """The model's answer to one query behind a defence. Raises InputError for an unusable image or question."""

    async def send(request: Request, limit: int | None) -> Response:
        return model.respond([request], limit or max_new_tokens)[0]

    return asyncio.run(answer_query(defence, query, Exchange(send)))


def rebuild_report(folder: Path) -> Path:
    """Write report.html from results.json and the report inputs in `folder`; return its path.

    Raises InputError when `folder` holds no evaluation, or one that is damaged.
    """
    from davsp.report.collect import read_evaluation, read_json

    results = read_evaluation(folder).results
    inputs = read_json(folder / REPORT_INPUTS, f"{folder} holds no finished evaluation")
    try:
        return _written_again(folder, results, inputs)
    except MALFORMED as error:
        raise InputError(
            f"{folder / REPORT_INPUTS} is damaged ({type(error).__name__}: {error}). Run the evaluation again."
        ) from error


def _written_again(folder: Path, results: Mapping[str, Any], inputs: Mapping[str, Any]) -> Path:
    from davsp.rates import Verdict
    from davsp.report.evaluation import Transcript, TranscriptAnswer, write_report

    transcripts = [
        Transcript(
            **{k: v for k, v in t.items() if k != "answers"},
            answers=[
                TranscriptAnswer(
                    a["defence"],
                    a["text"],
                    Verdict(a["verdict"]),
                    a["error"],
                    base64.b64decode(a["image"]) if a["image"] else None,
                )
                for a in t["answers"]
            ],
        )
        for t in inputs["transcripts"]
    ]
    return write_report(
        folder,
        results,
        title=inputs["title"],
        projections={tuple(k.split("/")): v for k, v in inputs["projections"].items()},
        training=inputs["training"],
        border=base64.b64decode(inputs["border"]) if inputs["border"] else None,
        transcripts=transcripts,
    )


def _transcript_json(transcript: Transcript) -> dict[str, Any]:
    answers = [vars(a) | {"image": base64.b64encode(a.image).decode() if a.image else None} for a in transcript.answers]
    return vars(transcript) | {"answers": answers}


def _projections(
    model: VisionLanguageModel, prompt: VisualSafetyPrompt, queries: Sequence[Query], batch_size: int
) -> dict[str, list[float]]:
    """Projections of malicious and benign queries, undefended and defended, as "side/condition"."""
    assert prompt.training is not None and prompt.direction is not None
    found: dict[str, list[float]] = {}
    for side, malicious in (("malicious", True), ("benign", False)):
        chosen = [q for q in queries if q.malicious is malicious]
        if not chosen:
            continue
        for condition, asked in (("before", chosen), ("after", [prompt.defend(q) for q in chosen])):
            values: Tensor = project(model, asked, prompt.direction, prompt.training.layer, batch_size=batch_size)
            found[f"{side}/{condition}"] = values.tolist()
    return found


def _tensorboard(folder: Path) -> Callable[[Record], None]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("TensorBoard is not installed. Run: pip install 'davsp[train]'") from error
    writer = SummaryWriter(str(folder / "tensorboard"))

    def write(record: Record) -> None:
        values = record.get("validation", record)
        stage = "validation" if "validation" in record else "training"
        for name, value in values.items():
            if name != "step":
                writer.add_scalar(f"{stage}/{name}", value, record["step"])
        if "validation" in record:
            writer.flush()

    return write
