"""Options by name: read from files and "name=value" assignments, checked by a pydantic schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError

from davsp.errors import InputError

Positive = Annotated[int, Field(gt=0)]


Weight = Annotated[float, Field(ge=0)]


Options = TypeVar("Options", bound=BaseModel)


def read_options(schema: type[Options], options: Mapping[str, Any], assignments: Sequence[str]) -> Options:
    """The options of a schema, by name, overridden by "name=value" assignments; nothing after = is an empty text.

    Raises InputError naming the option that is unknown, missing, or has a bad value.
    """
    values = dict(options)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f"{assignment!r}: write an option as name=value, such as steps=500.")
        try:
            values[name.strip()] = yaml.safe_load(text) if text.strip() else ""
        except yaml.YAMLError as error:
            raise InputError(f"{assignment!r}: the value is no YAML. Put a text with signs in it in quotes.") from error
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise InputError(f"option {name!r}: {first['msg']}. Options: {', '.join(schema.model_fields)}.") from error
