"""`python -m experiments.reach OUT`: how far a border reaches into a model, before one is trained.

The validation queries are read behind a grey border, and behind one that is white, black or noise, or that was trained
(`--prompt`, whose prefix is left out): by how many standard deviations do they move along the harmfulness vector? That
is made from the training queries, without any border. Where whatever lies in the border moves nothing, training has
nothing to work with. Prints the means over the malicious and over the benign queries, with 95 % intervals (Student's
t). The vector is kept in OUT.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.models.loading import load_model
from davsp.models.probe import Probe
from davsp.prompts.visual import VisualPrompt, protect
from davsp.rates import half_width
from davsp.testbed.sources import draw_source
from davsp.training.choices import Direction, FitOn
from davsp.training.config import TrainConfig
from davsp.training.jobs import vector_for
from davsp.training.objective import lay_out
from davsp.training.vector import project
from experiments.running import as_command

BATCH = 16


def main() -> None:
    """Read, print."""
    parser = argparse.ArgumentParser(prog="python -m experiments.reach", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="testbed")
    parser.add_argument("--data", default="testbed")
    parser.add_argument("--dtype", default="auto", help="of the model")
    parser.add_argument(
        "--per-group", type=int, default=40, help="training queries of each kind; half as many are read"
    )
    parser.add_argument("--direction", type=Direction, choices=Direction, default=Direction.MEAN)
    parser.add_argument("--texts", action="store_true", help="make the vector from the requests asked as text")
    parser.add_argument("--layer", type=int, help="default: the one that separates best")
    parser.add_argument(
        "--prompt", action="append", default=[], help="folder of a trained prompt; its prefix is not used"
    )
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    model = load_model(asked.model, dtype=asked.dtype)
    training, checks = (
        draw_source(asked.data, split, n, asked.seed, asked.model)
        for split, n in (("train", asked.per_group), ("validation", asked.per_group // 2))
    )
    fit_on = FitOn.TEXTS if asked.texts else FitOn.IMAGES
    vector = vector_for(model, training, checks, "", asked.out / "vector", direction=asked.direction, fit_on=fit_on)
    layer = asked.layer or vector.layer
    probe, spread = Probe.at(layer, vector.direction(layer)), vector.at(layer).spread
    layout = lay_out(model, TrainConfig())
    torch.manual_seed(asked.seed)
    borders = {name: layout.start(torch.full((3,), grey)) for name, grey in (("white", 1.0), ("black", 0.0))}
    borders["noise"] = torch.rand(3, *layout.size) * layout.mask()
    prompts = {name: VisualPrompt(layout, pixels) for name, pixels in borders.items()}
    for folder in asked.prompt:
        visual = VisualSafetyPrompt.load(folder).visual
        if visual is None:
            parser.error(f"{folder} holds no border")
        prompts[Path(folder).name] = visual

    def read(prompt: VisualPrompt) -> Tensor:
        return project(model, [protect(query, prompt, "") for query in checks], probe, batch_size=BATCH) / spread

    before = read(VisualPrompt(layout, layout.start(torch.full((3,), 0.5))))
    malicious = torch.tensor([query.malicious for query in checks])
    count = int(malicious.sum())
    print(f"{asked.model}, decoder layer {layer}: moved from behind a grey border, in standard deviations\n")
    print(f"| border | malicious (N = {count}) | benign (N = {len(checks) - count}) |\n|---|---|---|")
    for name, prompt in prompts.items():
        moved = read(prompt) - before
        print(f"| {name} | {_mean(moved[malicious])} | {_mean(moved[~malicious])} |", flush=True)


def _mean(values: Tensor) -> str:
    """A mean and its 95 % interval."""
    found = values.tolist()
    middle, half = fmean(found), half_width(found)
    return f"{middle:+.2f} [{middle - half:+.2f}, {middle + half:+.2f}]"


if __name__ == "__main__":
    as_command(main)
