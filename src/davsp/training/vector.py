"""The harmfulness vector: the direction in activation space that tells malicious from benign queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from davsp.data.digests import digest
from davsp.data.query import Query
from davsp.errors import ArtefactError, InputError
from davsp.models.activations import activation_batches, read_activations
from davsp.models.base import VisionLanguageModel
from davsp.results import first_problem
from davsp.util.batching import batched
from davsp.util.files import parse_json, replacing, write_json
from davsp.util.processes import processes

SCHEMA = 1
LAYER_CONVENTION = "decoder layer k is the hidden state after block k, k = 1..n"
Advance = Callable[[int], None]
"""Told how many more queries have been read."""


@dataclass(frozen=True)
class LayerStatistics:
    """How the validation queries project onto a layer's direction."""

    layer: int
    malicious_mean: float
    malicious_std: float
    benign_mean: float
    benign_std: float
    auroc: float
    separation: float
    """Cohen's d: difference of the means over the pooled standard deviation."""
    separation_error: float
    """Standard error of `separation`."""


@dataclass(frozen=True)
class HarmfulnessVector:
    """directions: float32 (n_layers, hidden), unit norm; row k - 1 belongs to decoder layer k.

    `layer` is the chosen layer. `origin` says which model, prefix and data it was made from.
    """

    directions: Float[Tensor, "layers hidden"]
    layer: int
    statistics: tuple[LayerStatistics, ...]
    origin: dict[str, Any]

    def direction(self, layer: int | None = None) -> Float[Tensor, " hidden"]:
        """The unit direction, float32 (hidden,), at the chosen or the given layer."""
        k = layer or self.layer
        if not 1 <= k <= len(self.directions):
            raise InputError(f"layer {k} does not exist: the vector has layers 1 to {len(self.directions)}.")
        return self.directions[k - 1]

    def at(self, layer: int | None = None) -> LayerStatistics:
        """The statistics of the chosen or the given layer. Raises InputError where there are none."""
        self.direction(layer)
        if not self.statistics:
            raise InputError(
                "this vector comes without measured class means: set tau_plus and tau_minus, or measure it on your "
                "queries with `davsp vector --directions`."
            )
        return self.statistics[(layer or self.layer) - 1]

    def check(self, model: VisionLanguageModel, prefix: str) -> None:
        """Raise ArtefactError when it was made for another model than `model`, or with another prefix than `prefix`.

        What its origin does not say is not asked: an official file says nothing of a model.
        """
        mine = {"family": model.family, "weights": model.weights, "prefix": prefix}
        known = {name: value for name, value in mine.items() if self.origin.get(name) is not None and value is not None}
        wrong = [name for name, value in known.items() if self.origin[name] != value]
        if wrong == ["prefix"]:
            raise ArtefactError(
                f"the vector was made with the prefix {self.origin['prefix']!r}, and the prompt is to have {prefix!r}: "
                "make one with `davsp vector --prefix`, or set the prefix."
            )
        if wrong:
            raise ArtefactError(
                f"the vector was made for {self.origin.get('model')} and does not fit {model.name} (different: "
                f"{', '.join(wrong)}): make one with `davsp vector` for it."
            )

    def save(self, folder: Path | str) -> None:
        """Write vector.safetensors and vector.json."""
        folder = Path(folder)
        with replacing(folder / "vector.safetensors") as partial:
            save_file({"directions": self.directions.contiguous()}, partial)
        description = {
            "schema": SCHEMA,
            "layer": self.layer,
            "layer_convention": LAYER_CONVENTION,
            "origin": self.origin,
            "statistics": [vars(s) for s in self.statistics],
        }
        write_json(folder / "vector.json", description)

    @classmethod
    def load(cls, folder: Path | str) -> HarmfulnessVector:
        """Read what `save` wrote. Raises ArtefactError when it is missing, damaged or of a newer schema."""
        folder = Path(folder)
        try:
            raw = parse_json((folder / "vector.json").read_text("utf-8"))
            if isinstance(raw, dict) and isinstance(raw.get("schema"), int) and raw["schema"] > SCHEMA:
                raise ArtefactError(f"{folder} was written by a newer davsp (schema {raw['schema']}): upgrade davsp.")
            description = _Description.model_validate(raw)
            directions = load_file(folder / "vector.safetensors")["directions"]
        except ValidationError as error:
            raise ArtefactError(
                f"{folder / 'vector.json'} is damaged ({first_problem(error)}): run `davsp vector` again."
            ) from error
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ArtefactError(
                f"{folder} holds no sound harmfulness vector ({error}): run `davsp vector` again."
            ) from error
        statistics, layer = description.statistics, description.layer
        if directions.dim() != 2 or not directions.is_floating_point() or not bool(directions.isfinite().all()):
            raise ArtefactError(f"{folder / 'vector.safetensors'} holds no directions: run `davsp vector` again.")
        measured = [s.layer for s in statistics]
        if measured not in ([], list(range(1, len(directions) + 1))) or not 1 <= layer <= len(directions):
            raise ArtefactError(f"{folder}: vector.json and vector.safetensors disagree: run `davsp vector` again.")
        return cls(directions.float(), layer, statistics, description.origin)


class _Description(BaseModel):
    """What vector.json says."""

    layer: int
    origin: dict[str, Any]
    statistics: tuple[LayerStatistics, ...]


def extract_vector(
    model: VisionLanguageModel,
    fitting: Sequence[Query],
    validation: Sequence[Query],
    *,
    prefix: str,
    layer: int | None = None,
    batch_size: int = 16,
    advance: Advance = lambda n: None,
    directions: Tensor | None = None,
) -> HarmfulnessVector:
    """Directions from the fitting queries (paper, harmfulness vector: v_k = mean malicious - mean benign) or as
    given, their quality from the validation queries. Images carry no border. States are summed up batch by batch,
    by all processes of the run.

    The layer is chosen among those that see the image. Raises InputError when either set lacks malicious or benign
    queries, the directions do not fit the model, or `layer` is none that sees the image.
    """
    if layer is not None:
        model.check_layer(layer)
    for name, queries in (("fitting", fitting), ("validation", validation)):
        if len({q.malicious for q in queries}) < 2:
            raise InputError(f"the {name} queries must hold malicious and benign ones: mark each with `malicious`.")
    given = directions is not None
    if directions is None:
        directions = _fit_directions(model, fitting, prefix, batch_size, advance)
    elif directions.shape != (model.n_layers, model.hidden_size):
        raise InputError(
            f"the directions are {tuple(directions.shape)} (layers, width), "
            f"{model.name} has {(model.n_layers, model.hidden_size)}: they belong to another model."
        )
    share = processes().shard(batched(validation, batch_size))
    own = [
        ((states * directions).sum(-1), malicious)
        for malicious, states in _labelled_states(model, share, prefix, advance)
    ]
    projected, labels = zip(*processes().all_gather(own), strict=True)
    statistics = _statistics(torch.cat(projected).numpy(), torch.cat(labels).numpy())
    origin = origin_of(model, () if given else fitting, validation, prefix)
    chosen = layer or choose_layer(statistics[model.first_seeing_layer - 1 :])
    return HarmfulnessVector(directions, chosen, statistics, origin)


def origin_of(
    model: VisionLanguageModel, fitting: Sequence[Query], validation: Sequence[Query], prefix: str
) -> dict[str, Any]:
    """What a vector is made from: model, prefix and queries, and how many of each side. `fitting` is empty where the
    directions were given."""

    def counts(queries: Sequence[Query]) -> dict[str, int]:
        malicious = sum(bool(q.malicious) for q in queries)
        return {"malicious": malicious, "benign": len(queries) - malicious}

    return {
        "model": model.name,
        "revision": model.revision,
        "family": model.family,
        "weights": model.weights,
        "prefix": prefix,
        "fitting": counts(fitting),
        "validation": counts(validation),
        "data": digest([*fitting, *validation]),
    }


def _fit_directions(
    model: VisionLanguageModel, fitting: Sequence[Query], prefix: str, batch_size: int, advance: Advance
) -> Float[Tensor, "layers hidden"]:
    """The unit difference of the class means at every layer."""
    sums = torch.zeros(2, model.n_layers, model.hidden_size, dtype=torch.float64)
    counts = torch.zeros(2, dtype=torch.float64)
    together = processes()
    share = together.shard(batched(fitting, batch_size))
    for malicious, states in _labelled_states(model, share, prefix, advance):
        for side in (0, 1):
            sums[side] += states[malicious == side].double().sum(0)
            counts[side] += (malicious == side).sum()
    together.all_reduce(sums)
    together.all_reduce(counts)
    means = sums / counts[:, None, None]
    return torch.nn.functional.normalize(means[1] - means[0], dim=-1).float()


def choose_layer(statistics: Sequence[LayerStatistics]) -> int:
    """The earliest layer whose separation is within one standard error of the best."""
    best = max(statistics, key=lambda s: s.separation)
    floor = best.separation - best.separation_error
    return next(s.layer for s in statistics if s.separation >= floor)


@torch.inference_mode()
def project(
    model: VisionLanguageModel,
    queries: Sequence[Query],
    direction: Float[Tensor, " hidden"],
    layer: int,
    *,
    prefix: str = "",
    batch_size: int = 16,
) -> Float[Tensor, " n"]:
    """<h_layer, direction> of each query as it stands, float32 (N,). Blocks after `layer` are not run."""
    states = read_activations(model, queries, [layer], prefix, batch_size=batch_size)
    return (states[:, 0] * direction).sum(-1)


def _labelled_states(
    model: VisionLanguageModel, batches: Sequence[Sequence[Query]], prefix: str, advance: Advance
) -> Iterator[tuple[Tensor, Tensor]]:
    """Per batch: malicious int64 (B,), states float32 (B, layers, hidden) of every layer, on the CPU."""
    every = range(1, model.n_layers + 1)
    for batch, states in zip(batches, activation_batches(model, batches, every, prefix), strict=True):
        yield torch.tensor([int(q.malicious) for q in batch]), states
        advance(len(batch) * processes().count)


def _statistics(projections: np.ndarray, malicious: np.ndarray) -> tuple[LayerStatistics, ...]:
    """projections: float32 (N, layers); malicious: int64 (N,)."""
    statistics = []
    for k, column in enumerate(projections.T.astype(np.float64), start=1):
        high, low = column[malicious == 1], column[malicious == 0]
        n, m = len(high), len(low)
        pooled = ((high.var() * n + low.var() * m) / max(n + m - 2, 1)) ** 0.5
        d = float((high.mean() - low.mean()) / pooled) if pooled > 0 else 0.0
        statistics.append(
            LayerStatistics(
                layer=k,
                malicious_mean=float(high.mean()),
                malicious_std=float(high.std()),
                benign_mean=float(low.mean()),
                benign_std=float(low.std()),
                auroc=auroc(high, low),
                separation=d,
                # Hedges and Olkin (1985): large-sample standard error of Cohen's d.
                separation_error=((n + m) / (n * m) + d**2 / (2 * (n + m))) ** 0.5,
            )
        )
    return tuple(statistics)


def auroc(high: np.ndarray, low: np.ndarray) -> float:
    """The chance that a value of `high` exceeds one of `low`, ties counting half: Mann and Whitney's U (1947) over the
    number of pairs."""
    from scipy.stats import mannwhitneyu  # takes a second, which those who only load a vector need not wait for

    return float(mannwhitneyu(high, low, method="asymptotic").statistic / (len(high) * len(low)))
