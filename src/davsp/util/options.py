"""Options by name: read from files and "name=value" assignments, checked and described by a pydantic schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import yaml
from pydantic import AliasChoices, BaseModel, Field, ValidationError

from davsp.errors import InputError
from davsp.util.files import parse_yaml

if TYPE_CHECKING:
    from rich.table import Table

Positive = Annotated[int, Field(gt=0, lt=2**31)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
"""A number, or a seed."""
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Options = TypeVar("Options", bound=BaseModel)


def read_options(schema: type[Options], options: Mapping[str, Any], assignments: Sequence[str]) -> Options:
    """The options of a schema, by name, overridden by "name=value" assignments; nothing after = is an empty text.

    An option's former names (its AliasChoices) are names of it too. Raises InputError naming the option that is
    unknown, missing, or has a bad value.
    """
    names = _present_names(schema)
    values = {names.get(name, name): value for name, value in options.items()}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f"{_shortened(assignment)!r}: write an option as name=value, such as steps=500.")
        name = name.strip()
        try:
            values[names.get(name, name)] = parse_yaml(text) if text.strip() else ""
        except ValueError as error:
            raise InputError(
                f"{_shortened(assignment)!r}: the value is no YAML: {error}. Put a text with signs in it in quotes."
            ) from error
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise InputError(f"option {name!r}: {first['msg']}. Options: {', '.join(schema.model_fields)}.") from error


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]} ..."


def _present_names(schema: type[BaseModel]) -> dict[str, str]:
    """The present name of an option by each of its former ones."""
    return {
        str(former): name
        for name, field in schema.model_fields.items()
        if isinstance(field.validation_alias, AliasChoices)
        for former in field.validation_alias.choices
    }


def options_table(
    schema: type[BaseModel], title: str, presets: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> Table:
    """The options of a schema for people: name, meaning, and default. Print it with `rich.console.Console`.

    `presets`: other values by name, under what they are called ("the paper's"); shown beside the default where given.
    Values are written as `read_options` reads them, floats shortened; a default that is found out later is told by the
    option's own description.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, show_header=False, padding=(0, 2, 1, 0)
    )
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for name, field in schema.model_fields.items():
        if field.is_required():
            values = ["required"]
        else:
            default = field.get_default(call_default_factory=True)
            values = [] if default is None else [f"default: {_as_yaml(default)}"]
        values += [f"{called}: {_as_yaml(preset[name])}" for called, preset in presets.items() if name in preset]
        lines = [line for line in (field.description, "; ".join(values)) if line]
        table.add_row(name, Text("\n".join(lines)))
    return table


def _as_yaml(value: Any) -> str:
    """A value as it is written after --set, floats shortened."""
    if isinstance(value, float):
        return f"{value:.4g}"
    plain = value.value if isinstance(value, Enum) else value
    return str(yaml.safe_dump(plain, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n..."))
