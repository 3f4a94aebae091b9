"""The page of an evaluation that was just measured: results, and what a model on this machine shows besides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from davsp.data.query import Query
from davsp.defences.base import Defence
from davsp.models.base import VisionLanguageModel
from davsp.report.evaluation import write_report
from davsp.report.inputs import ReportInputs, write_inputs
from davsp.report.transcripts import choose_transcripts
from davsp.results import Results
from davsp.training.run_state import Record
from davsp.training.vector import project

HISTOGRAM_QUERIES = 200
"""So many of the queries are read at most for the projections."""


def write_page(
    folder: Path,
    results: Results,
    model: VisionLanguageModel | str,
    defences: Sequence[Defence],
    queries: Sequence[Query],
    title: str,
    training: Sequence[Record],
    batch_size: int,
) -> None:
    """Write report.html, and beside it what it takes to write it again. Border, projections and training are those of
    the last defence that brings a direction; a loaded model reads some of the queries for the projections."""
    aligned = [defence for defence in defences if defence.alignment]
    projections = {}
    if aligned and not isinstance(model, str):
        projections = projections_of(model, aligned[-1], queries[:: -(-len(queries) // HISTOGRAM_QUERIES)], batch_size)
    inputs = ReportInputs(
        title=title,
        prompt=aligned[-1].name if aligned else "",
        projections=projections,
        layers=list(aligned[-1].alignment.layers) if aligned and aligned[-1].alignment else [],
        thresholds=aligned[-1].thresholds if aligned else None,
        training=list(training),
        border=aligned[-1].picture() if aligned else None,
        transcripts=choose_transcripts(folder, queries, defences),
    )
    write_inputs(folder, inputs)
    write_report(folder, results, inputs)


def projections_of(
    model: VisionLanguageModel, defence: Defence, queries: Sequence[Query], batch_size: int
) -> dict[str, list[float]]:
    """Projections of malicious and benign queries, undefended and, where that changes them, defended, as
    "side/condition"."""
    assert defence.alignment
    probe, defence = defence.alignment, defence.on_canvas(model.canvas)
    projections: dict[str, list[float]] = {}
    for side, malicious in (("malicious", True), ("benign", False)):
        chosen = [q for q in queries if q.malicious is malicious]
        if not chosen:
            continue
        conditions = {"before": chosen, "after": [defence.as_read(q) for q in chosen]}
        if all(one is other for one, other in zip(*conditions.values(), strict=True)):  # as a gate reads most
            del conditions["after"]
        for condition, seen in conditions.items():
            values = project(model, seen, probe, batch_size=batch_size)
            projections[f"{side}/{condition}"] = values.tolist()
    return projections
