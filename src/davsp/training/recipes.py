"""Recipes: a whole training run in a file. The command line's own options go before what a recipe says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from davsp.errors import InputError


class TrainingRecipe(BaseModel):
    """Model, data and training options. `train` holds what differs from our choices, or the paper's with `paper`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    revision: str | None = None
    dtype: str = "auto"
    data: str
    validation: str | None = None
    paper: bool = False
    train: dict[str, Any] = Field(default_factory=dict)


def read_recipe(file: Path) -> TrainingRecipe:
    """Read a YAML recipe. Raises InputError naming what is wrong in it."""
    try:
        read = yaml.safe_load(file.read_text("utf-8"))
        return TrainingRecipe.model_validate(read)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot read the recipe {file}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "content"
        raise InputError(
            f"recipe {file}: {name!r}: {first['msg']}. A recipe has: {', '.join(TrainingRecipe.model_fields)}."
        ) from error
