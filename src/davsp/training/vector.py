"""The harmfulness vector: the direction in activation space that tells malicious from benign queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
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
from davsp.data.query import REQUEST, Query
from davsp.errors import ArtefactError, InputError
from davsp.models.activations import activation_batches
from davsp.models.base import VisionLanguageModel
from davsp.models.hardware import hardware_of
from davsp.models.probe import Probe
from davsp.results import first_problem
from davsp.training.choices import Direction, FitOn
from davsp.training.directions import fit_directions
from davsp.training.separation import LayerStatistics, check_both_sides, choose_layer, layer_statistics
from davsp.training.twins import text_twins
from davsp.util.batching import batched
from davsp.util.files import parse_json, replacing, write_json
from davsp.util.processes import processes
from davsp.util.provenance import Provenance, versions_used

SCHEMA = 1
LAYER_CONVENTION = "decoder layer k is the hidden state after block k, k = 1..n"
Advance = Callable[[int], None]
"""Told how many more queries have been read."""


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
            "statistics": [asdict(s) for s in self.statistics],
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
    direction: Direction = Direction.MEAN,
    fit_on: FitOn = FitOn.IMAGES,
) -> HarmfulnessVector:
    """Directions from the fitting queries, as `direction` says, or as given in `directions`; their quality from the
    validation queries. Images carry no border. States are read batch by batch, by all processes of the run.

    The layer is chosen among those that see the image, by how well it separates the validation queries: within each
    kind of query, but with direction "mean", which is the paper's (harmfulness vector: v_k = mean malicious - mean
    benign), all malicious from all benign ones. Raises InputError when either set lacks malicious or benign queries,
    the directions do not fit the model, no requests are known that could be asked as text, or `layer` is none that sees
    the image.
    """
    if layer is not None:
        model.check_layer(layer)
    for name, queries in (("fitting", fitting), ("validation", validation)):
        check_both_sides(name, queries)
    given = directions is not None
    if directions is None:
        fitted = fitted_queries(fitting, fit_on)
        read = _states_by_batch(model, fitted, prefix, batch_size, advance)
        directions = fit_directions(direction, (([fitted[i] for i in rows], states) for rows, states in read))
        advance(len(fitting) - len(fitted))
    elif directions.shape != (model.n_layers, model.hidden_size):
        raise InputError(
            f"the directions are {tuple(directions.shape)} (layers, width), "
            f"{model.name} has {(model.n_layers, model.hidden_size)}: they belong to another model."
        )
    texts = [twin for twin in text_twins(validation) if twin.malicious]
    projected = [
        _projected(model, queries, directions, prefix, batch_size, step)
        for queries, step in ((validation, advance), (texts, lambda n: None))
    ]
    statistics = layer_statistics(
        projected[0].numpy(),
        np.array([q.malicious for q in validation]),
        np.array([q.kind for q in validation]),
        projected[1].numpy(),
        within=direction is not Direction.MEAN,
    )
    origin = origin_of(model, () if given else fitting, validation, prefix, direction, fit_on) | {
        **hardware_of(model.model, model.device)._asdict(),
        "versions": versions_used(),
        "provenance": Provenance.now().model_dump(mode="json"),
    }
    chosen = layer or choose_layer(statistics[model.first_seeing_layer - 1 :])
    return HarmfulnessVector(directions, chosen, statistics, origin)


def fitted_queries(fitting: Sequence[Query], fit_on: FitOn) -> Sequence[Query]:
    """What directions are fitted to. Raises InputError where requests are to be asked as text, and are not known."""
    if fit_on is FitOn.IMAGES:
        return fitting
    twins = text_twins(fitting)
    if len({twin.malicious for twin in twins}) < 2:
        raise InputError(
            "fit_on=texts: the malicious or the benign queries do not say which request they show, so that it could be "
            f"asked as text. Name it in their column {REQUEST!r}, or draw queries from texts (davsp data draw)."
        )
    return twins


def origin_of(
    model: VisionLanguageModel,
    fitting: Sequence[Query],
    validation: Sequence[Query],
    prefix: str,
    direction: Direction,
    fit_on: FitOn,
) -> dict[str, Any]:
    """What a vector is made from: model, prefix and queries, how many of each side, and how. `fitting` is empty where
    the directions were given."""

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
        "direction": direction.value if fitting else "given",
        "fit_on": fit_on.value,
    }


@torch.inference_mode()
def project(
    model: VisionLanguageModel,
    queries: Sequence[Query],
    probe: Probe,
    *,
    prefix: str = "",
    batch_size: int = 16,
) -> Float[Tensor, " n"]:
    """The score of each query as it stands, float32 (N,). Blocks after the last of the probe's layers are not run."""
    states = activation_batches(model, batched(queries, batch_size), probe.layers, prefix)
    return torch.cat([torch.zeros(0), *map(probe.score, states)])


def _states_by_batch(
    model: VisionLanguageModel,
    queries: Sequence[Query],
    prefix: str,
    batch_size: int,
    advance: Advance,
) -> Iterator[tuple[Sequence[int], Tensor]]:
    """This process's batches, as places in `queries`, and their states, float32 (B, layers, hidden), on the CPU."""
    share = processes().shard(batched(range(len(queries)), batch_size))
    batches = [[queries[i] for i in rows] for rows in share]
    every = range(1, model.n_layers + 1)
    for rows, states in zip(share, activation_batches(model, batches, every, prefix), strict=True):
        yield rows, states
        advance(len(rows) * processes().count)


def _projected(
    model: VisionLanguageModel,
    queries: Sequence[Query],
    directions: Tensor,
    prefix: str,
    batch_size: int,
    advance: Advance,
) -> Float[Tensor, "n layers"]:
    """Each query's projection at every layer, in order, float32 (N, layers)."""
    own = [
        (list(rows), (states * directions).sum(-1))
        for rows, states in _states_by_batch(model, queries, prefix, batch_size, advance)
    ]
    projected = torch.zeros(len(queries), len(directions))
    for rows, values in processes().all_gather(own):
        projected[rows] = values
    return projected
