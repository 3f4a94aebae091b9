"""A saved defence is a folder, and says what it was made for.

config.json        what it is, for which model, how it was made
model.safetensors  its tensors, where it has any
README.md          a card for people
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import Tensor

from davsp.errors import ArtefactError
from davsp.imaging.canvas import Canvas, FixedCanvas, GridCanvas, TiledCanvas
from davsp.models.base import VisionLanguageModel
from davsp.models.hardware import hardware_of
from davsp.util.files import parse_json, replacing, sha256, write_json, write_text
from davsp.util.provenance import Provenance, versions_used

SCHEMA = 1
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


def _sound(canvas: Canvas) -> Canvas:
    """The canvas. Raises ValueError for one without sizes."""
    sizes = canvas.sizes if isinstance(canvas, TiledCanvas) else ((1, 1),)
    sides = [side for side in vars(canvas).values() if isinstance(side, int)]
    bounded = not isinstance(canvas, GridCanvas) or canvas.min_pixels <= canvas.max_pixels
    if not sizes or not bounded or min([*sides, *chain(*sizes)]) < 1:
        raise ValueError("the canvas has no sizes")
    return canvas


SavedCanvas = Annotated[FixedCanvas | GridCanvas | TiledCanvas, AfterValidator(_sound)]


class BaseModelFacts(BaseModel):
    """The model a defence was made for."""

    name: str
    revision: str | None
    family: str
    canvas: tuple[int, int]
    """Height, width in pixels."""
    n_layers: int
    hidden_size: int
    fingerprint: str
    """What no precision changes; it tells models apart where `weights` is not known."""
    limits: SavedCanvas | None = None
    """The sizes of images that it took as they are; None in folders written before version 0.2."""
    device: str | None = None
    """Where it was loaded when the defence was made; None in folders written before version 0.2."""
    dtype: str | None = None
    """The types of its weights there."""
    weights: str | None = None
    """A digest of every tensor of its checkpoint; None in folders written before version 0.2."""

    @classmethod
    def of(cls, model: VisionLanguageModel) -> BaseModelFacts:
        return cls(
            name=model.name,
            revision=model.revision,
            family=model.family,
            canvas=model.canvas.square,
            limits=model.canvas,
            n_layers=model.n_layers,
            hidden_size=model.hidden_size,
            fingerprint=model.fingerprint(),
            weights=model.weights,
            **hardware_of(model.model, model.device)._asdict(),
        )

    def differences(self, model: VisionLanguageModel) -> list[str]:
        """One line for everything in which `model` is another model than this; names do not count, nor do the limits
        of its processor: whether they suit is for the visual prompt to say."""
        other = BaseModelFacts.of(model)
        mine, its = self.model_dump(), other.model_dump()
        names = [k for k in ("family", "n_layers", "hidden_size") if mine[k] != its[k]]
        lines = [f"{k}: it was made for {mine[k]}, {model.name} has {its[k]}" for k in names]
        if self.weights and other.weights:
            same = self.weights == other.weights
        else:
            same = self.fingerprint == other.fingerprint
        if not same and not lines:
            lines.append(f"weights: {model.name} is of the same architecture, but has others (or another precision)")
        return lines


class Facts(BaseModel):
    """What every saved defence says of itself."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_version: int = SCHEMA
    name: str
    base_model: BaseModelFacts
    versions: dict[str, str] = Field(default_factory=versions_used)
    provenance: Provenance | None = None
    """None in folders written before version 0.2."""
    weights_sha256: str | None = None
    """Of model.safetensors: a folder whose saving was cut short between two files is found out."""


AnyFacts = TypeVar("AnyFacts", bound=Facts)


def save(folder: Path, facts: Facts, tensors: Mapping[str, Tensor], card: str) -> None:
    """Write the folder, each file as a whole, config.json last, so that a folder that has it is complete.

    Raises StorageError when the folder cannot be written.
    """
    if tensors:
        with replacing(folder / WEIGHTS) as partial:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)
        facts = facts.model_copy(update={"weights_sha256": sha256(folder / WEIGHTS)})
    facts = facts.model_copy(update={"provenance": facts.provenance or Provenance.now()})
    write_text(folder / CARD, card)
    write_json(folder / CONFIG, facts.model_dump(mode="json"))


def read_config(folder: Path) -> dict[str, Any]:
    """What config.json holds. Raises ArtefactError when there is none, or it is no JSON object."""
    if not (folder / CONFIG).is_file():
        raise ArtefactError(f"{folder} holds no defence: there is no {CONFIG} in it.")
    try:
        raw = parse_json((folder / CONFIG).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{folder / CONFIG} is damaged ({error}): copy or make it again.") from error
    if not isinstance(raw, dict):
        raise ArtefactError(f"{folder / CONFIG} is damaged: it holds no JSON object.")
    return raw


def load(folder: Path, schema: type[AnyFacts]) -> tuple[AnyFacts, dict[str, Tensor]]:
    """Read what `save` wrote. Raises ArtefactError when it is missing, damaged, or of a newer schema."""
    raw = read_config(folder)
    if isinstance(raw.get("schema_version"), int) and raw["schema_version"] > SCHEMA:
        raise ArtefactError(
            f"{folder} was written by a newer davsp (schema {raw['schema_version']}, this one reads up to {SCHEMA}): "
            "upgrade with `pip install -U davsp`."
        )
    try:
        facts = schema.model_validate(raw)
        # Read as a whole: tensors that are mapped from a file change with it, under whoever goes on using them.
        content = (folder / WEIGHTS).read_bytes() if facts.weights_sha256 else b""
        tensors = load_tensors(content) if content else {}
        if facts.weights_sha256 and hashlib.sha256(content).hexdigest() != facts.weights_sha256:
            raise ArtefactError(
                f"{folder / WEIGHTS} is not the one that {CONFIG} describes (was saving cut short?): copy or make it "
                "again."
            )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise ArtefactError(f"{folder / CONFIG} is damaged: {where}: {first['msg']}.") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise ArtefactError(f"{folder} is damaged ({error}): copy or make it again.") from error
    if not all(bool(tensor.float().isfinite().all()) for tensor in tensors.values()):
        raise ArtefactError(f"{folder / WEIGHTS} holds values that are no numbers: copy or make it again.")
    return facts, tensors
