"""Whole jobs, as the command line and the demo run them: train and save a prompt; compare defences and report."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from davsp.data.query import Query
from davsp.defences.base import AnyDefence, Exchange, answer_query
from davsp.defences.visual_safety_prompt import PICTURE, VisualSafetyPrompt
from davsp.judges import Judge
from davsp.models.base import VisionLanguageModel
from davsp.models.requests import Request, Response
from davsp.report.inputs import REPORT_INPUTS, _transcript_json, rebuild_report
from davsp.training.run_state import Record, read_metrics
from davsp.training.vector import project
from davsp.util.async_running import run_coroutine
from davsp.util.files import write_json
from davsp.util.processes import processes

if TYPE_CHECKING:
    from davsp.benchmarks.selection import BenchmarkSelection

HISTOGRAM_QUERIES = 400


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
    benchmark: BenchmarkSelection | None = None,
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
    if not processes().is_main:
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

    return run_coroutine(answer_query(defence, query, Exchange(send)))


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
