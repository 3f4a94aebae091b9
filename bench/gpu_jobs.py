"""On a GPU: answering behind a border and a gate, the demo, and training the model that reads English."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import count
from subprocess import run

import torch

from bench.gpu_place import NotMeasured, Place
from bench.measuring import Row, finish, in_turns, row, spread
from bench.subjects import queries_in_files
from davsp.data.query import Query
from davsp.defences.stored import BaseModelFacts
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.evaluation.run import evaluate
from davsp.models.loading import load_model
from davsp.models.probe import Probe
from davsp.models.requests import Request, Watch
from davsp.models.shipped import SHIPPED, SMOL
from davsp.prompts.visual import VisualPrompt
from davsp.testbed.queries import border_queries
from davsp.training.config import TrainConfig
from davsp.training.jobs import make_objectives
from davsp.training.trainer import Trainer
from davsp.training.vector import extract_vector

QUERIES, NEW_TOKENS, BATCH = 64, 64, 64
ALONE = 1
"""Queries that are asked one at a time, whose time is that of as many more."""
PLAIN = f"{QUERIES} queries behind a border, {NEW_TOKENS} new tokens, without Inspect: queries per second"
INSPECTED = f"{QUERIES} queries behind a border, {NEW_TOKENS} new tokens, with Inspect: queries per second"
GATED = "a benign query behind the gate : undefended, as speed"
DEMO = "davsp demo"
TRAINED = "500 steps of 32, vector included"


def answers_row(place: Place, inspected: bool) -> Row:
    """From files to answers, beside a bare generate whose inputs lie ready, and beside one query at a time."""
    if inspected and find_spec("inspect_ai") is None:
        raise NotMeasured("inspect-ai is missing")
    bench, tokens = place.bench, place.chosen(NEW_TOKENS, 4)
    queries = queries_in_files(place.folder, per_group=8)[0][: place.chosen(QUERIES, 4)]
    visual = VisualPrompt(bench.objective.plan.layout, bench.trainer.prompt.cpu())
    border = VisualSafetyPrompt("border", visual, bench.reference.prefix, base_model=BaseModelFacts.of(bench.vlm))
    turn = count()

    def plain() -> None:
        for start in range(0, len(queries), BATCH):
            bench.vlm.generate([border.defend(query) for query in queries[start : start + BATCH]], tokens)

    def with_inspect() -> None:
        evaluate(
            bench.vlm,
            [border],
            queries,
            output=place.folder / f"answers-{next(turn)}",
            batch_size=BATCH,
            max_new_tokens=tokens,
            progress=False,
        )

    sides: dict[str, Callable[[], object]] = {
        "floor": _bare_generate(place, [border.defend(query) for query in queries], tokens),
        "ours": with_inspect if inspected else plain,
    }
    if not inspected:
        sides["reference"] = partial(bench.reference.answers, queries[:ALONE], tokens)
    return row(
        INSPECTED if inspected else PLAIN,
        place.size,
        in_turns(sides, place.turns),
        work={"ours": len(queries), "floor": len(queries), "reference": ALONE},
        reference_aim=8,
        floor_aim=0.9 if inspected else 0.95,
        note="the reference asks one query at a time" if not inspected else "",
    )


def _bare_generate(place: Place, queries: list[Query], tokens: int) -> Callable[[], None]:
    """transformers' own generate of the queries, in batches whose inputs are on the device."""
    vlm, ready = place.bench.vlm, []
    for start in range(0, len(queries), BATCH):
        some = queries[start : start + BATCH]
        rows = [vlm.prompt_ids(query.question) for query in some]
        width, pad = max(map(len, rows)), int(vlm.tokenizer.pad_token_id)
        ids, mask = (
            torch.tensor([[left] * (width - len(row)) + kept for row, kept in pairs], device=vlm.device)
            for left, pairs in ((pad, [(r, r) for r in rows]), (0, [(r, [1] * len(r)) for r in rows]))
        )
        ready.append(vlm.inputs(vlm.canvas_pixels(some), ids, mask.bool()) | {"attention_mask": mask})

    def generate() -> None:
        with torch.inference_mode():
            for inputs in ready:
                vlm.model.generate(**inputs, do_sample=False, max_new_tokens=tokens).tolist()

    return generate


def gate_row(place: Place) -> Row:
    """A query that the gate lets pass, asked for an answer, beside the same without a gate."""
    bench, tokens = place.bench, place.chosen(NEW_TOKENS // 2, 4)
    query = bench.objective.sides[False].queries[0]
    watch = Watch(Probe.at(bench.objective.plan.layer, bench.objective.direction.cpu()), threshold=1e9)

    def ask(watched: Watch | None) -> None:
        bench.vlm.respond([Request(query.question, query.image, watch=watched)], tokens)

    seconds = in_turns({"floor": partial(ask, None), "ours": partial(ask, watch)}, place.turns)
    return row(GATED, place.size, seconds, floor_aim=0.98, note="the floor is undefended")


def demo_row(place: Place) -> Row:
    """The command in a process of its own, from its start to its report."""
    quick = ["--per-group", "1", "--steps", "1"] if place.tiny else []
    begun = time.perf_counter()
    done = run(
        [sys.executable, "-m", "davsp", "demo", "--out", str(place.folder / "demo"), "--json", *quick],
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise NotMeasured((done.stderr.strip() or f"it ended with status {done.returncode}").splitlines()[-1])
    return row(DEMO, place.size, {"ours": [seconds]}, figures={"seconds": spread([seconds], 60)})


def smol_row(place: Place) -> Row:
    """The vector, and steps of which few are measured, on the testbed's queries."""
    if not place.tiny and not SHIPPED[SMOL].place.is_dir():
        raise NotMeasured(f"{SMOL} is not there: {SHIPPED[SMOL].fetched_by}")
    model = load_model("testbed" if place.tiny else SMOL)
    config = TrainConfig(steps=500, micro_batch=16)
    training, checks = border_queries(0, per_group=place.chosen(16, 2), checks_per_group=place.chosen(4, 1))
    begun = time.perf_counter()
    vector = extract_vector(model, training, checks, prefix=config.prefix, batch_size=64)
    read = time.perf_counter() - begun
    trainer = Trainer(make_objectives([(model, vector)], config, training, checks, quiet=True))
    trainer.step(0)
    measured = place.chosen(20, 1)
    finish()
    begun = time.perf_counter()
    for number in range(1, measured + 1):
        trainer.step(number)
    finish()
    step = (time.perf_counter() - begun) / measured
    seconds = read + config.steps * step
    return row(
        TRAINED,
        place.size,
        {"ours": [seconds]},
        figures={"seconds": spread([seconds], 60)},
        note=f"vector of {len(training)} + {len(checks)} queries {read:.3g} s, a step {step:.3g} s "
        f"(mean of {measured})",
    )
