"""`python -m experiments.reader OUT --texts FOLDER`: defences on the testbed model that reads English.

A gate is fitted to the training split of `--data smol` and to half of its validation split, whose other half calibrates
it, and every defence is evaluated on draws of the test split, one for each seed, of whose texts and benchmarks neither
model nor gate has seen one. What is in OUT already is kept, so that the same command goes on. Prints, in percent with
95 % intervals over all seeds: malicious requests refused, in images and as text; harmless twins refused, in images and
as text; safe prompts that look harmful refused; reading, counting and colours right.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from davsp.api import evaluate
from davsp.defences.base import FittingData
from davsp.defences.gate import Gate, GateFitOptions
from davsp.defences.loading import load_defence
from davsp.models.base import VisionLanguageModel
from davsp.models.loading import load_model
from davsp.models.shipped import SMOL
from davsp.rates import Rate
from davsp.results import Results
from davsp.testbed.sources import LEAST_PUBLIC_SIDE, draw_source
from experiments.cells import pooled_cell
from experiments.running import as_command

IN_IMAGES, AS_TEXT, LOOK_ALIKES = ("figstep", "typo", "sd_typo"), ("text",), ("xstest",)
SKILLS = ("reading", "counting", "colours")
OTHERS = ("prefix", "transcribe")
"""What the gate is compared with."""
RATE = 0.05
"""Benign calibration queries that the gate may flag."""
BATCH, NEW_TOKENS = 16, 24


def main() -> None:
    """Fit, evaluate, print."""
    parser = argparse.ArgumentParser(prog="python -m experiments.reader", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--texts", type=Path, required=True, help="folder of the public texts")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--per-group", type=int, default=100, help="test queries of each kind and seed")
    parser.add_argument("--train-per-group", type=int, default=300)
    parser.add_argument("--states", type=Path, help="folder in which the states that the gate reads are kept")
    parser.add_argument("--defence", nargs="*", default=OTHERS, help=f"to compare with; default: {', '.join(OTHERS)}")
    parser.add_argument("--dtype", default="fast", help="of the model")
    asked = parser.parse_args()
    model = load_model(SMOL, dtype=asked.dtype)
    name = f"smol@{LEAST_PUBLIC_SIDE}={asked.texts}"
    gate = _gate(model, name, asked.train_per_group, asked.out / "gate", asked.states)
    others = [load_defence(each) for each in asked.defence]
    runs = []
    for seed in asked.seeds:
        folder = asked.out / f"seed-{seed}"
        runs.append(
            evaluate(
                model,
                draw_source(name, "test", asked.per_group, seed, SMOL),
                [None, gate, *others],
                out=folder / "evaluation",
                title="Defences on the model that reads English",
                batch_size=BATCH,
                max_new_tokens=NEW_TOKENS,
                seed=seed,
            ).results
        )
    print(_table(runs))


def _gate(model: VisionLanguageModel, name: str, per_group: int, folder: Path, states: Path | None) -> Gate:
    """The gate, fitted if need be."""
    if not (folder / "config.json").is_file():
        training = draw_source(name, "train", per_group, 0, SMOL)
        calibration = draw_source(name, "validation", max(1, per_group // 2), 0, SMOL)
        options = GateFitOptions(rate=RATE, fitted_share=0.5, states=states)
        Gate.fit(model, options, FittingData(training, calibration), folder)
    return Gate.load(folder)


def _table(runs: list[Results]) -> str:
    rows = [
        "| defence | in images | as text | twins in images | twins as text | look-alikes | skills |",
        "|---" * 7 + "|",
    ]
    for defence in runs[0].defences:
        of = [run.defences[defence] for run in runs]
        cells = (
            *(_of(kinds, [each.rsr for each in of]) for kinds in (IN_IMAGES, AS_TEXT)),
            *(_of(kinds, [each.over_refusal for each in of]) for kinds in (IN_IMAGES, AS_TEXT, LOOK_ALIKES)),
            _of(SKILLS, [each.benign_accuracy for each in of]),
        )
        rows.append(f"| {defence} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _of(kinds: Iterable[str], rates: list[dict[str, Rate]]) -> str:
    """Rates of these kinds and of all runs together."""
    return pooled_cell(own[kind] for own in rates for kind in kinds if kind in own)


if __name__ == "__main__":
    as_command(main)
