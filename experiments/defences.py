"""`python -m experiments.defences OUT`: every defence on the testbed's models, over several seeds, as one table.

For each model and seed the borders are trained and the baselines and gates fitted with the commands that users have,
and all are evaluated on the same queries; `--row` chooses some. What is in OUT already is kept, so that the same
command goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from davsp.data.folder import save_queries
from davsp.judges.rates import pooled
from davsp.models.shipped import OF_THE_WORLD
from davsp.rates import Cost, Measure, Rate
from davsp.results import Results, read_results
from davsp.testbed.queries import Kind, draw_queries
from davsp.testbed.sources import own_side
from davsp.testbed.world import Split
from davsp.training.config import NO_DEEP_ALIGNMENT
from experiments.running import as_command

TRAINED = {
    "border": ("prefix=",),
    "no_deep_alignment": tuple(f"{name}={value:g}" for name, value in NO_DEEP_ALIGNMENT.items()),
    "additive": ("mode=additive", "side={side}"),
    "davsp": (),
    "davsp_margin_-0.25": ("margin=-0.25",),
    "davsp_lda": ("direction=lda", "in_deviations=true"),
}
"""What `davsp train` is told: the prompt, what `davsp demo` compares with it, DAVSP whose thresholds lie between the
class means, which pulls less and costs less usefulness, and DAVSP along the discriminant."""
GATES = {
    "gate": ("rate=0.015", "refusal_rate=0.002"),
    "every-kind-gate": ("rate=0.015", "refusal_rate=0.002"),
    "flat-gate": ("flatten=24", "rate=0.05", "refusal_rate=0.01"),
}
"""What `davsp fit gate` is told: of a gate, of one that is fitted to the kinds, too, that no training sees, and of one
against attackers who know it."""
GATED_PER_GROUP = 400
"""Drawn queries of each kind and side that a gate is fitted to."""
GATED = {
    "gate": ("border", "no_deep_alignment", "davsp", "davsp_lda"),
    "every-kind-gate": ("davsp", "davsp_lda"),
    "flat-gate": ("davsp",),
}
"""What stands behind each."""
FITTED = {
    "adashield-a": ("defender=davsp-testbed/defender", "clip={helpers}/clip"),
    "pat": ("candidates=64",),
    "uniguard": ("text=optimised", "candidates=64", "steps=1000", "side={side}"),
    "esiii": ("steps=1000", "side={side}"),
}
"""What `davsp fit` is told beyond its defaults: fewer candidates and steps, for the testbed is small."""
BEGINNING = "i am"
"""How ETA begins an answer anew: its own words are none of the testbed's, whose models say nothing after them."""
IMAGES = ("sd", "typo", "sd_typo", "figstep")
"""The kinds of malicious queries that hide in the image."""


def main() -> None:
    """Train, fit, evaluate what is missing; print a table for each model."""
    parser = argparse.ArgumentParser(prog="python -m experiments.defences", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", action="append", choices=OF_THE_WORLD, help="default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--per-group", type=int, default=200, help="test queries of each kind and seed")
    parser.add_argument("--row", action="append", help="a defence, as it is called in the table; default: all")
    asked = parser.parse_args()
    for model in asked.model or OF_THE_WORLD:
        runs = [_results(model, seed, asked.per_group, asked.out, asked.row) for seed in asked.seeds]
        print(f"\n{model}\n\n{_table(runs)}", flush=True)


def helper_thresholds(folder: Path) -> dict[str, float]:
    """Thresholds of the stand-ins for CLIP and reward model, trained if need be."""
    report = folder / "report.json"
    if not report.exists():
        found = subprocess.run(
            [*_DAVSP, "testbed", "helpers", "--out", str(folder)], check=True, stdout=subprocess.PIPE, text=True
        )
        print(found.stdout)
        report.write_text(found.stdout)
    return {name: part["threshold"] for name, part in json.loads(report.read_text()).items()}


def eta_with(helpers: Path, thresholds: dict[str, float]) -> str:
    """ETA's name, with the stand-ins in a folder as its helper models."""
    return (
        f"eta:reward={helpers}/reward,clip={helpers}/clip,"
        f"reward_threshold={thresholds['reward']},clip_threshold={thresholds['clip']},prefix={BEGINNING}"
    )


def rows(model: str, seed: int, out: Path) -> dict[str, Callable[[], str]]:
    """By the names of the rows, what makes each defence where it is not there yet and returns what `davsp evaluate`
    takes."""
    folder, helpers = out / f"{model}-{seed}", out / "helpers"
    side = own_side(model)

    def made(name: str, *command: str) -> str:
        if not (folder / name / "config.json").exists():
            run_davsp(*command, "--model", model, "--out", str(folder / name))
        return str(folder / name)

    def trained(name: str) -> str:
        options = [f"seed={seed}", *(option.format(side=side) for option in TRAINED[name])]
        return made(name, "train", "--data", "testbed", *_set(options))

    def fitted(name: str) -> str:
        helper_thresholds(helpers)
        options = (option.format(helpers=helpers, side=side) for option in FITTED[name])
        return made(name, "fit", name, "--seed", str(seed), *_set(options))

    def gate(name: str) -> str:
        drawn = ["--per-group", str(GATED_PER_GROUP)]
        if name == "every-kind-gate":
            drawn = ["--data", every_kind(Split.BORDER, GATED_PER_GROUP)]
            drawn += ["--validation", every_kind(Split.VALIDATION, GATED_PER_GROUP // 2)]
        return made(name, "fit", "gate", *drawn, "--seed", str(seed), *_set(GATES[name]))

    def every_kind(split: Split, per_group: int) -> str:
        if not (queries := folder / f"queries-{split}").exists():
            save_queries(draw_queries(split, per_group, seed, frozenset(Kind), side), queries)
        return str(queries)

    named = {name: partial(str, name) for name in ("none", "prefix", "adashield-s", "ecso")}
    before = {
        f"{name}+{inner}": partial(lambda name, inner: f"gate:folder={gate(name)},inner={trained(inner)}", name, inner)
        for name, inners in GATED.items()
        for inner in inners
    }
    return {
        **named,
        "eta": lambda: eta_with(helpers, helper_thresholds(helpers)),
        **{name: partial(fitted, name) for name in FITTED},
        **{name: partial(trained, name) for name in TRAINED},
        "gate": partial(gate, "gate"),
        "every-kind-gate": partial(gate, "every-kind-gate"),
        **before,
    }


def _set(options: Iterable[str]) -> list[str]:
    return [part for option in options for part in ("--set", option)]


def _results(model: str, seed: int, per_group: int, out: Path, wanted: Sequence[str] | None) -> Results:
    """The results of the rows that are wanted, or of all, on one model with one seed."""
    made = rows(model, seed, out)
    names = [make() for row, make in made.items() if row in (wanted or made)]
    folder = out / f"{model}-{seed}" / "eval"
    run_davsp(  # answers that are there are not asked for again
        "evaluate",
        *("--model", model, "--seed", str(seed), "--out", str(folder)),
        *("--per-group", str(per_group), "--max-new-tokens", "20", "--batch-size", "64"),
        *(p for name in names for p in ("--defence", name)),
    )
    return read_results(folder)


_DAVSP = (sys.executable, "-m", "davsp")


def run_davsp(*arguments: str) -> None:
    print("davsp", *arguments, file=sys.stderr, flush=True)
    subprocess.run([*_DAVSP, *arguments], check=True, stdout=subprocess.DEVNULL)


def _table(runs: Sequence[Results]) -> str:
    """A line for each defence: rates over all seeds with their 95 % intervals and, of several seeds, the lowest and
    the highest of them; costs of a query with the first."""
    heads = ["in images resisted", "as text resisted", "benign right", "harmless refused"]
    heads += ["calls", "tokens read + written", "helper calls", "ms"]
    lines = [f"| defence | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for name in runs[0].defences:
        by_seed = [run.defences[name] for run in runs]
        cells = [
            _rate([[rates.rsr[kind] for kind in IMAGES] for rates in by_seed]),
            _rate([[rates.rsr["text"]] for rates in by_seed]),
            _rate([list(rates.benign_accuracy.values()) for rates in by_seed]),
            _rate([list(rates.over_refusal.values()) for rates in by_seed]),
        ]
        lines.append(f"| {name} | {' | '.join([*cells, *_costs(runs[0].cost[name])])} |")
    counts = ", ".join(f"{measure} {n}" for measure in Measure if (n := _asked(runs, measure)))
    return "\n".join(lines) + f"\n\nN over {len(runs)} seeds and all kinds: {counts}."


def _asked(runs: Sequence[Results], measure: Measure) -> int:
    """How many queries a measure's rates are of, if none is unscored."""
    return sum(rate.n + rate.unscored for run in runs for rate in run.defences["none"][measure].values())


def _rate(by_seed: Sequence[Sequence[Rate]]) -> str:
    """The rates of all kinds and seeds taken together."""
    rate = pooled(rate for rates in by_seed for rate in rates)
    shown = rate and rate.in_percent()
    if rate is None or not shown:
        return "no score"
    each = [seed.rate for rates in by_seed if (seed := pooled(rates)) and seed.rate is not None]
    spread = f" ({100 * min(each):.1f} to {100 * max(each):.1f})" if min(each) < max(each) else ""
    unscored = f", {rate.unscored} unscored" if rate.unscored else ""
    return f"{shown}{spread}{unscored}"


def _costs(cost: Cost) -> list[str]:
    """What a query costs in the mean."""
    tokens = f"{_number(cost.input_tokens, '.0f')} + {_number(cost.output_tokens, '.1f')}"
    seconds = None if cost.seconds is None else 1000 * cost.seconds
    return [_number(cost.calls, ".3g"), tokens, _number(cost.helper_calls, ".3g"), _number(seconds, ".0f")]


def _number(value: float | None, form: str) -> str:
    return "not told" if value is None else format(value, form)


if __name__ == "__main__":
    as_command(main)
