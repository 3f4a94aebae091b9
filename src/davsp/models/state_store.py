"""Hidden states that are kept in a folder, so that what was read once is not read again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from davsp.data.digests import digest
from davsp.data.query import Query
from davsp.models.activations import activation_batches
from davsp.models.base import VisionLanguageModel
from davsp.util.files import replacing

Batch = Sequence[Query]


class StateStore:
    """The undefended activations of a model's queries, at every decoder layer, a file for each query.

    A file is named by model and query: what another model or another query has left there is not found. States
    are kept in the model's own precision, which they do not exceed.
    """

    def __init__(self, folder: Path, model: VisionLanguageModel) -> None:
        self.folder, self.model = folder, model
        self._of_model = f"{model.identity} {model.canvas}"

    def batches(self, batches: Iterable[Batch]) -> Iterator[Float[Tensor, "b layers hidden"]]:
        """The activations of each batch, in order, float32 (B, n_layers, hidden), on the CPU; those that are not there
        are read and written, each batch at once. Raises what `activation_batches` and `replacing` raise."""
        for batch in batches:
            files = [self._file(query) for query in batch]
            found = [_load(file) for file in files]
            missing = [i for i, states in enumerate(found) if states is None]
            if missing:
                every = range(1, self.model.n_layers + 1)
                [read] = activation_batches(self.model, [[batch[i] for i in missing]], every)
                for i, states in zip(missing, read, strict=True):
                    found[i] = states
                    with replacing(files[i]) as partial:
                        save_file({"states": states.to(self.model.model.dtype).contiguous()}, partial)
            yield torch.stack([states for states in found if states is not None])

    def _file(self, query: Query) -> Path:
        name = hashlib.sha256(f"{self._of_model} {digest([query])}".encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"


def _load(file: Path) -> Tensor | None:
    """What a file holds; None where there is none, or none that can be read."""
    try:
        states: Tensor = load_file(file)["states"]
    except (OSError, KeyError, SafetensorError):
        return None
    return states.float()
