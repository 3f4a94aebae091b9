"""From the recipe to a checkpoint that can be shipped: half precision, scores, and a model card."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jinja2 import Environment, PackageLoader
from safetensors.torch import save_file

from davsp.defences.base import RewritingDefence
from davsp.defences.textual import SafetyPrefix, Undefended
from davsp.errors import InputError
from davsp.judges.judgement import Expected, judge_by_rules
from davsp.judges.rates import JudgedSample, summarise
from davsp.models.base import VisionLanguageModel
from davsp.models.loading import load_model
from davsp.rates import Verdict
from davsp.testbed.pretrain import Progress, Run
from davsp.testbed.queries import draw_queries
from davsp.testbed.recipe import RECIPES
from davsp.testbed.scenes import SIZE
from davsp.testbed.world import HARMFUL_WORDS, Split
from davsp.util.batching import batched
from davsp.util.files import replacing, write_json, write_text
from davsp.util.progress import bar

START_STEPS = 3
"""Steps after which the shipped recipe record holds a digest of the weights, for a test to compare with."""
SCORED_PER_GROUP = 1000
"""So many that a rate at 95 % is known to within 1.5 points."""
BATCH = 64
MAX_NEW_TOKENS = 20

Scores = dict[str, Any]


def pretrain_and_save(folder: Path, work: Path, architecture: str, seed: int, share: float = 1.0) -> None:
    """Run the recipe in `work`, going on from its state, then write checkpoint, scores and card to `folder`.

    `share`: how many of every phase's steps are taken. Raises InputError for an unknown architecture.
    """
    if architecture not in RECIPES:
        raise InputError(f"there is no architecture {architecture!r}: choose from {', '.join(RECIPES)}.")
    whole = RECIPES[architecture]
    recipe = replace(whole, seed=seed, phases=tuple(replace(p, steps=round(share * p.steps)) for p in whole.phases))
    run = Run(recipe, work)
    with bar("Pretraining", sum(phase.steps for phase in recipe.phases)) as advance:
        shown = 0

        def report(progress: Progress) -> None:
            nonlocal shown
            advance(progress.done - shown)
            shown = progress.done

        run.train(report)
    save_checkpoint(run, folder)
    scores = score_checkpoint(load_model(str(folder)), SCORED_PER_GROUP, 0, run.vlm.image_side)
    write_json(folder / "recipe.json", _record(run, scores))
    template = Environment(loader=PackageLoader("davsp.testbed"), autoescape=False).get_template("card.md.j2")  # noqa: S701
    write_text(
        folder / "README.md",
        template.render(
            recipe=recipe,
            share=share,
            vlm=run.vlm,
            words=len(run.processor.tokenizer) - len(run.processor.tokenizer.added_tokens_decoder),
            minutes=run.seconds / 60,
            scores=scores,
            cell=_cell,
        ),
    )


def save_checkpoint(run: Run, folder: Path) -> None:
    """Write model (float16 safetensors), processor and configuration; every file as a whole."""
    run.vlm.save_processor(folder)
    run.model.config.dtype = torch.float16
    run.model.config.save_pretrained(folder)
    run.model.generation_config.save_pretrained(folder)
    weights = {k: v.detach().half().contiguous() for k, v in run.model.state_dict().items()}
    with replacing(folder / "model.safetensors") as partial:
        save_file(weights, partial, metadata={"format": "pt"})


def _cell(rate: dict[str, Any]) -> str:
    return f"{rate['rate']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}], {rate['n']}"


def _record(run: Run, scores: Scores) -> dict[str, Any]:
    losses: list[float] = []
    with TemporaryDirectory() as folder:
        start = Run(run.recipe, Path(folder))
        start.train(lambda progress: losses.append(progress.loss), stop_after=START_STEPS)
    return {
        "architecture": run.recipe.architecture,
        "seed": run.recipe.seed,
        "phases": [vars(phase) for phase in run.recipe.phases],
        "minutes": round(run.seconds / 60, 1),
        "machine": {
            "capability": torch.backends.cpu.get_cpu_capability(),
            "vendor": cpu_vendor(),
            "threads": torch.get_num_threads(),
        },
        "versions": {p: version(p) for p in ("torch", "transformers", "pillow", "numpy")}
        | {"python": platform.python_version()},
        "start": {"steps": START_STEPS, "losses": losses, "weights_sha256": weights_digest(start)},
        "scores": scores,
    }


def score_checkpoint(model: VisionLanguageModel, per_group: int, seed: int, side: int = SIZE) -> Scores:
    """The rates a testbed checkpoint must have, undefended and behind the safety prefix, on the test split.

    Greedy decoding; images of `side` pixels. "malicious_words": reading accuracy on the texts that hold a harmful word.
    """
    queries = draw_queries(Split.TEST, per_group, seed, side=side)
    scores: Scores = {}
    for defence in (Undefended(), SafetyPrefix()):
        judged = _judge_all(model, defence, queries)
        harmful = [
            j
            for j, q in zip(judged, queries, strict=True)
            if q.group == "benign/reading" and set((q.answer or "").split()) & set(HARMFUL_WORDS)
        ]
        words = summarise(harmful).model_dump()["benign_accuracy"]
        scores[defence.name] = {**summarise(judged).model_dump(), "malicious_words": words}
    return scores


def _judge_all(model: VisionLanguageModel, defence: RewritingDefence, queries: list[Any]) -> list[JudgedSample]:
    judged = []
    with bar(f"Answering ({defence.name})", len(queries)) as advance:
        for batch in batched(queries, BATCH):
            for query, answer in zip(
                batch, model.generate([defence.defend(q) for q in batch], MAX_NEW_TOKENS), strict=True
            ):
                expected = Expected(
                    query.question, query.malicious, query.answer or "", query.metadata.get("forbidden", "")
                )
                verdict: Verdict = judge_by_rules(answer, expected).verdict
                judged.append(JudgedSample(query.id, query.group, query.malicious, query.answer is not None, verdict))
            advance(len(batch))
    return judged


def weights_digest(run: Run) -> str:
    """SHA-256 over every weight of a run's model, bit for bit."""
    found = hashlib.sha256()
    for name, weight in run.model.state_dict().items():
        found.update(name.encode())
        found.update(weight.numpy().tobytes())
    return found.hexdigest()


def cpu_vendor() -> str:
    """The processor's maker as Linux names it; "" elsewhere. Kernels are bit-identical only on like processors."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")
