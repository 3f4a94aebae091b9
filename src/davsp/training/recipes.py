"""Recipes: a whole training run in a file. The command line's own options go before what a recipe says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from davsp.errors import InputError
from davsp.util.files import parse_yaml


class TrainingRecipe(BaseModel):
    """Model, data and training options. `train` holds what differs from our choices, or the paper's with `paper`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="Local folder or hub id of the model.")
    revision: str | None = Field(None, description="Revision of a hub model.")
    dtype: str = Field("auto", description="Precision of the model's weights, as for --dtype.")
    data: str = Field(description="Queries to train on: whatever --data takes.")
    validation: str | None = Field(None, description="Queries that judge and choose. Default: one in five of the data.")
    paper: bool = Field(False, description="Whether training options start from the paper's choices instead of ours.")
    train: dict[str, Any] = Field(default_factory=dict, description="Training options by name.")


def read_recipe(file: Path) -> TrainingRecipe:
    """Read a YAML recipe. Raises InputError naming what is wrong in it."""
    try:
        return TrainingRecipe.model_validate(parse_yaml(file.read_text("utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "content"
        raise InputError(
            f"recipe {file}: {name!r}: {first['msg']}. A recipe has: {', '.join(TrainingRecipe.model_fields)}."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the recipe {file}: {error}. Correct it there.") from error
