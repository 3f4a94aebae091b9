"""What the page of one evaluation shows beyond results.json, kept so that the page can be written again."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from davsp.rates import Verdict
from davsp.results import read_checked
from davsp.util.files import write_json

REPORT_INPUTS = "report_inputs.json"


def _decoded(value: object) -> object:
    return base64.b64decode(value) if isinstance(value, str) else value


def _encoded(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def _with_step(record: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(record.get("step"), int) or not isinstance(record.get("validation", {}), dict):
        raise ValueError("a record of training has a step, and validation values by name if any")
    return record


Png = Annotated[bytes, BeforeValidator(_decoded), PlainSerializer(_encoded, when_used="json")]
"""A PNG file; in JSON as base64."""
TrainingRecord = Annotated[dict[str, Any], AfterValidator(_with_step)]
"""A record of a training run's metrics.jsonl."""
Condition = Annotated[str, Field(pattern="^[^/]+/[^/]+$")]


class _Input(BaseModel):
    model_config = ConfigDict(frozen=True)


class TranscriptAnswer(_Input):
    """One answer. `image` is the PNG as the model saw it behind the defence, where it is known."""

    defence: str
    text: str
    verdict: Verdict
    error: str | None = None
    image: Png | None = None


class Transcript(_Input):
    """One query and its answers behind every defence."""

    id: str
    group: str
    malicious: bool
    question: str
    answers: list[TranscriptAnswer]


class ReportInputs(_Input):
    """What report_inputs.json holds. A part that is not given is left out of the page.

    `prompt` names the defence that `projections`, `training` and `border` are of. `projections` maps "side/condition",
    such as "malicious/before", to one float per query, taken at the decoder `layers`. Its training was to bring
    malicious queries above the first of the `thresholds`, and benign ones below the second. `training` are the records
    of a training run's metrics.jsonl. `border` is an RGBA PNG, transparent where the image goes.
    """

    title: str
    prompt: str = ""
    projections: dict[Condition, list[float]] = {}
    layers: list[int] = []
    thresholds: tuple[float, float] | None = None
    training: list[TrainingRecord] = []
    border: Png | None = None
    transcripts: list[Transcript] = []

    @model_validator(mode="before")
    @classmethod
    def _names_one_layer(cls, data: Any) -> Any:
        """Pages of davsp 0.1 and 0.2 name one layer, or none, as `layer`."""
        if isinstance(data, dict) and "layer" in data:
            layer = data["layer"]
            data = {name: value for name, value in data.items() if name != "layer"}
            data["layers"] = [] if layer is None else [layer]
        return data


def write_inputs(folder: Path, inputs: ReportInputs) -> None:
    """Write report_inputs.json. Raises StorageError where the folder is not writable."""
    write_json(folder / REPORT_INPUTS, inputs.model_dump(mode="json"))


def read_inputs(folder: Path) -> ReportInputs:
    """The inputs of the page in a folder. Raises InputError where there are none, and for a file that is damaged."""
    return read_checked(folder / REPORT_INPUTS, ReportInputs, f"{folder} holds no finished evaluation")
