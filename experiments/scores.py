"""`python -m experiments.scores OUT`: what a gate could score a query by, compared on the same hidden states.

The undefended queries of the training split make the scores, those of the validation split the thresholds, and those of
the test split the table: how well a score tells malicious from benign queries within their kinds, and what it catches
where at most 1 % or 5 % of the benign validation queries are flagged. A score of one layer is that of the layer that
separates held-out training queries best. HiddenDetect (Jiang et al. 2025) reads which refusal words a state is turning
into, the refusal direction (Arditi et al. 2024) is the mean difference of requests asked as text: neither needs images
that are labelled. States are kept in OUT, so that the same command goes on.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from davsp.data.query import Query, split_queries
from davsp.defences.gate_reading import default_layers
from davsp.judges.refusal import is_refusal
from davsp.models.base import VisionLanguageModel
from davsp.models.loading import load_model
from davsp.models.state_store import StateStore
from davsp.rates import Rate
from davsp.testbed.sources import draw_source
from davsp.training.choices import Direction
from davsp.training.directions import fit_directions
from davsp.training.separation import layer_statistics, score_statistics
from davsp.training.twins import text_twins
from davsp.util.batching import batched
from davsp.util.progress import bar
from experiments.cells import rate_cell
from experiments.running import as_command

BATCH = 16
SELECTION = 0.25
"""Of the training queries: those that choose a layer."""
SHARES = (0.01, 0.05)
"""Of the benign validation queries that are flagged."""
PROBES, REFUSAL_TOKENS = 64, 8
"""Malicious requests that are asked to hear how the model refuses, and tokens of each answer."""
LENS_DECILE = 0.9
"""HiddenDetect sums over the layers whose differences are in the top tenth, and those between them."""


@dataclass(frozen=True)
class Read:
    """Queries, and their states, float32 (N, layers, hidden)."""

    queries: Sequence[Query]
    states: Tensor

    @property
    def malicious(self) -> np.ndarray:
        return np.array([query.malicious for query in self.queries])

    @property
    def kinds(self) -> np.ndarray:
        return np.array([query.kind for query in self.queries])


def main() -> None:
    """Read, fit, print."""
    parser = argparse.ArgumentParser(prog="python -m experiments.scores", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="testbed")
    parser.add_argument("--data", default="testbed")
    parser.add_argument("--dtype", default="auto", help="of the model")
    parser.add_argument("--train-per-group", type=int, default=400)
    parser.add_argument("--per-group", type=int, default=100, help="test queries of each kind")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    model = load_model(asked.model, dtype=asked.dtype)
    store = StateStore(asked.out / "states", model)
    sizes = {"train": asked.train_per_group, "validation": asked.train_per_group // 2, "test": asked.per_group}
    drawn = {s: draw_source(asked.data, s, n, asked.seed, asked.model) for s, n in sizes.items()}
    fitting, selection = split_queries(drawn["train"], SELECTION, asked.seed)
    parts = [_read(store, part) for part in (fitting, selection, drawn["validation"], drawn["test"])]
    print(f"N: {_counts(parts[0])} fitted to, {_counts(parts[2])} calibrated, {_counts(parts[3])} tested\n")
    heads = ["score", "layers", "AUROC within kinds"]
    heads += [f"{what} at {100 * share:g} %" for share in SHARES for what in ("caught", "flagged")]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for method in Direction:
        _one_layer(method.value, fit_directions(method, [(fitting, parts[0].states)]), model, parts)
    texts = text_twins(drawn["train"])
    if len({query.malicious for query in texts}) == 2:
        told = _read(store, texts)
        for method in Direction:
            name = "refusal direction" if method is Direction.MEAN else f"{method} of texts"
            _one_layer(name, fit_directions(method, [(texts, told.states)]), model, parts)
    _several_layers(model, parts)
    _hidden_detect(model, parts)


def _read(store: StateStore, queries: Sequence[Query]) -> Read:
    batches = batched(queries, BATCH)
    states = []
    with bar("Reading hidden states", len(queries)) as advance:
        for batch, found in zip(batches, store.batches(batches), strict=True):
            states.append(found)
            advance(len(batch))
    return Read(queries, torch.cat(states))


def _counts(part: Read) -> str:
    malicious = int(part.malicious.sum())
    return f"{malicious} malicious and {len(part.queries) - malicious} benign"


def _one_layer(name: str, directions: Tensor, model: VisionLanguageModel, parts: Sequence[Read]) -> None:
    projected = [(part.states * directions).sum(-1).numpy() for part in parts[1:]]
    statistics = layer_statistics(
        projected[0], parts[1].malicious, parts[1].kinds, np.zeros((0, len(directions))), True
    )
    best = max(statistics[model.first_seeing_layer - 1 :], key=lambda each: each.separation).layer
    _row(name, str(best), parts, projected[1][:, best - 1], projected[2][:, best - 1])


def _several_layers(model: VisionLanguageModel, parts: Sequence[Read]) -> None:
    """On the states of the layers that a gate reads, side by side."""
    layers = default_layers(model)
    joined = [part.states[:, [layer - 1 for layer in layers]].flatten(1)[:, None] for part in parts]
    for method in Direction:
        [direction] = fit_directions(method, [(parts[0].queries, joined[0])])
        scores = [(states[:, 0] @ direction).numpy() for states in joined[2:]]
        _row(f"{method} of several layers", ", ".join(map(str, layers)), parts, *scores)


def _hidden_detect(model: VisionLanguageModel, parts: Sequence[Read]) -> None:
    """The cosine of the vocabulary's scores at each layer with the words that the model refuses with, summed up over
    the layers where malicious requests have more of it by the trapezoidal rule."""
    words = _refusal_words(model, parts[0].queries)
    lens = [_lens(model, part.states, words) for part in parts]
    malicious = parts[0].malicious
    differences = lens[0][malicious].mean(0) - lens[0][~malicious].mean(0)
    aware = np.flatnonzero(differences >= np.quantile(differences, LENS_DECILE))
    span = slice(aware.min(), aware.max() + 1)
    scores = [np.trapezoid(each[:, span], axis=1) if aware.max() > aware.min() else each[:, aware[0]] for each in lens]
    _row("HiddenDetect", f"{aware.min() + 1} to {aware.max() + 1}", parts, *scores[2:])


def _refusal_words(model: VisionLanguageModel, queries: Sequence[Query]) -> list[int]:
    """The tokens of the model's commonest refusal of malicious requests."""
    malicious = [query for query in queries if query.malicious]
    probes = (text_twins(malicious) or malicious)[:PROBES]
    answers = [text for batch in batched(probes, BATCH) for text in model.generate(batch, REFUSAL_TOKENS)]
    refusals = Counter(answer for answer in answers if is_refusal(answer))
    return sorted(set(model.answer_ids(refusals.most_common(1)[0][0])[:-1]))


@torch.inference_mode()
def _lens(model: VisionLanguageModel, states: Tensor, words: Sequence[int]) -> np.ndarray:
    """float32 (N, layers): the cosine of each state's scores of the vocabulary with a vector that is 1 at `words`."""
    norm = model.model.get_decoder().norm
    found = []
    for rows in states.split(BATCH):
        scores = model.logits(norm(rows.to(model.device, model.model.dtype)))
        found.append(scores[..., list(words)].sum(-1) / (scores.norm(dim=-1) * len(words) ** 0.5))
    return torch.cat(found).float().cpu().numpy()


def _row(name: str, layers: str, parts: Sequence[Read], calibration: np.ndarray, scores: np.ndarray) -> None:
    test = parts[3]
    benign = calibration[~parts[2].malicious]
    cells = [f"{score_statistics(scores.tolist(), test.queries).auroc:.3f}"]
    for share in SHARES:
        above = scores > np.quantile(benign, 1 - share)
        cells += [
            rate_cell(Rate.of(int(above[side].sum()), int(side.sum()))) for side in (test.malicious, ~test.malicious)
        ]
    print(f"| {name} | {layers} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    as_command(main)
