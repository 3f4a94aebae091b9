"""`davsp demo`: the main job, end to end, on the embedded testbed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from davsp.api import evaluate
from davsp.defences.stored import BaseModelFacts
from davsp.defences.textual import Undefended
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt, train_prompt
from davsp.errors import InputError
from davsp.models.loading import load_model
from davsp.models.shipped import OF_THE_WORLD
from davsp.prompts.layouts import Mode
from davsp.prompts.text import SAFETY_PREFIX
from davsp.report.pages import PAGE
from davsp.results import Results, write_results
from davsp.testbed.queries import border_queries, draw_queries
from davsp.testbed.sources import own_side
from davsp.testbed.world import Split
from davsp.training.config import TrainConfig
from davsp.training.jobs import vector_for
from davsp.training.run_state import read_metrics
from davsp.util.processes import processes

MAX_NEW_TOKENS = 20
BATCH = 64


def run_demo(
    folder: Path, testbed: str, *, seed: int, per_group: int, steps: int | None = None, quiet: bool = False
) -> tuple[Results, Path]:
    """Extract the vector, train a prompt and three ablations, compare six defences on the test split.

    `testbed`: a shipped testbed model. Writes everything to `folder` and goes on with what is there. Returns the
    results and the report's path. Raises InputError for another model, or in several processes.
    """
    if processes().count > 1:
        raise InputError("the demo is one process's job: start it without accelerate.")
    if testbed not in OF_THE_WORLD:
        raise InputError(f"the demo runs on models of the testbed's world: choose from {', '.join(OF_THE_WORLD)}.")
    side = own_side(testbed)
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        seconds[stage] = round(time.perf_counter() - begun, 1)

    with timed("load"):
        model = load_model(testbed)
        training, checks = border_queries(seed, side=side)
        test = draw_queries(Split.TEST, per_group, seed, side=side)
    ours = TrainConfig(seed=seed) if steps is None else TrainConfig(seed=seed, steps=steps)
    variants = {
        "davsp": ours,
        "border": ours.model_copy(update={"prefix": ""}),
        "no_deep_alignment": ours.model_copy(
            update={"alignment_weight": 0.0, "answer_weight": 1.0, "refusal_share": 1.0}
        ),
        "additive": ours.model_copy(update={"mode": Mode.ADDITIVE, "side": side}),
    }
    with timed("vector"):
        vectors = {
            prefix: vector_for(
                model,
                training,
                checks,
                prefix,
                folder / name,
                direction=ours.direction,
                fit_on=ours.fit_on,
                batch_size=BATCH,
                quiet=quiet,
            )
            for name, prefix in (("vector", SAFETY_PREFIX), ("vector_without_prefix", ""))
        }
    trained: dict[str, VisualSafetyPrompt] = {}
    for name, config in variants.items():
        with timed(f"train {name}"):
            pair = (model, vectors[config.prefix])
            trained[name] = train_prompt([pair], config, training, checks, folder / name, quiet=quiet)

    prefix_only = VisualSafetyPrompt("prefix", None, SAFETY_PREFIX, base_model=BaseModelFacts.of(model))
    prefix_only.save(folder / "prefix")
    defences = [
        Undefended(),
        prefix_only,
        trained["border"],
        trained["no_deep_alignment"],
        trained["additive"],
        trained["davsp"],
    ]
    with timed("evaluate"):
        results = evaluate(
            model,
            test,
            defences,
            out=folder,
            title=f"Visual safety prompt on {testbed}",
            training=read_metrics(folder / "davsp"),
            batch_size=BATCH,
            max_new_tokens=MAX_NEW_TOKENS,
            seed=seed,
            progress=not quiet,
        ).results
    results = results.model_copy(update={"seconds": results.seconds | seconds})
    write_results(folder, results)
    return results, folder / PAGE
