"""`python -m experiments.defences OUT`: every defence on the testbed's models, over several seeds, as one table.

For each model and seed the borders are trained and the baselines fitted with the commands that users have, and all are
evaluated on the same queries. What is in OUT already is kept, so that the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from davsp.judges.rates import pooled
from davsp.models.shipped import OF_THE_WORLD
from davsp.rates import Cost, Measure, Rate
from davsp.results import RESULTS, Results, read_results
from davsp.testbed.sources import own_side

TRAINED = ("border", "no_deep_alignment", "additive", "davsp")
"""What `davsp demo` trains."""
GENTLE = "davsp_margin_-0.25"
"""DAVSP whose thresholds lie between the class means: it pulls less, and costs less usefulness."""
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
    asked = parser.parse_args()
    out: Path = asked.out
    thresholds = helper_thresholds(out / "helpers")
    for model in asked.model or OF_THE_WORLD:
        runs = [_results(model, seed, asked.per_group, out, thresholds) for seed in asked.seeds]
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


def _results(model: str, seed: int, per_group: int, out: Path, thresholds: dict[str, float]) -> Results:
    """The results of every defence on one model with one seed."""
    folder, helpers = out / f"{model}-{seed}", out / "helpers"
    common = ["--model", model, "--seed", str(seed)]
    if not (folder / "demo" / RESULTS).exists():
        run_davsp("demo", *common, "--per-group", "1", "--out", str(folder / "demo"))
    if not (folder / GENTLE / "config.json").exists():
        milder = ("--set", f"seed={seed}", "--set", "margin=-0.25", "--vector", str(folder / "demo" / "vector"))
        run_davsp("train", "--model", model, "--data", "testbed", *milder, "--out", str(folder / GENTLE))
    for name, options in FITTED.items():
        if not (folder / name / "config.json").exists():
            filled = [o.format(helpers=helpers, side=own_side(model)) for o in options]
            run_davsp("fit", name, *common, *(p for o in filled for p in ("--set", o)), "--out", str(folder / name))
    eta = eta_with(helpers, thresholds)
    fitted = [str(folder / name) for name in FITTED]
    trained = [str(folder / "demo" / name) for name in TRAINED]
    names = ["none", "prefix", "adashield-s", *fitted, "ecso", eta, *trained, str(folder / GENTLE)]
    if not (folder / "eval" / RESULTS).exists():
        run_davsp(
            "evaluate",
            *common,
            *("--per-group", str(per_group), "--max-new-tokens", "20", "--batch-size", "64"),
            *("--out", str(folder / "eval")),
            *(p for name in names for p in ("--defence", name)),
        )
    return read_results(folder / "eval")


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
    main()
