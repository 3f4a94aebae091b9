"""A command's options read from a YAML file. The command line's own go before it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from davsp.errors import InputError
from davsp.util.files import parse_yaml


def _take(context: typer.Context, file: Path | None) -> Path | None:
    """Make the file's values the defaults of the command's options, before any other option is read.

    Raises InputError for a file that cannot be read, an option that there is not or that is there twice, and a value
    that the option does not take.
    """
    if file is None or context.resilient_parsing:
        return None
    try:
        content = parse_yaml(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {file}: {error}. Correct it there.") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: write an option and its value on each line, such as `limit: 100`.")
    options: dict[str, Any] = {
        name.lstrip("-"): parameter
        for parameter in context.command.params
        for name in parameter.opts
        if name.startswith("--") and name not in ("--config", "--help")
    }
    values: dict[str, Any] = {}
    for key, value in content.items():
        option = options.get(str(key))
        if option is None:
            raise InputError(f"{file}: there is no option {str(key)!r}. There are: {', '.join(options)}.")
        if option.name in values:
            raise InputError(f"{file}: {str(key)!r} is there under two names. Leave one of them out.")
        values[option.name] = _words(value, option.multiple, f"{file}: {key}")
        try:
            option.process_value(context, values[option.name])
        except Exception as error:
            if (said := getattr(error, "message", None)) is None:
                raise
            raise InputError(f"{file}: {key}: {said}") from error
    context.default_map = values
    return file


def _words(value: Any, is_repeatable: bool, where: str) -> str | list[str]:
    """A value as it would be typed, so that a file is read as strictly as a command line is."""
    if isinstance(value, list) and is_repeatable:
        return [_word(each, where) for each in value]
    word = _word(value, where)
    return [word] if is_repeatable else word


def _word(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise InputError(
        f"{where}: {value!r} is no value of it. Write a text or a number; leave out what is not to be set."
    )


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        callback=_take,
        is_eager=True,
        help="YAML file of this command's options by their long names; options given here go before it.",
    ),
]
