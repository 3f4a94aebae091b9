"""What pages of the site show of what is written elsewhere, read when the site is built so that it cannot grow stale.

A line of its own in a page stands for it:

    <!-- include CHANGELOG.md -->                      a file of the repository
    <!-- options davsp.training.config:TrainConfig davsp.training.config:PAPER -->
                                                       a table of a pydantic schema's fields, and the paper's values
    <!-- schema davsp.results:Results -->              what a JSON file of that schema holds
    <!-- commands -->                                   every command of the command line, and its options

The API reference gets a page for every wing in the tree of architecture.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.core import TyperGroup

ROOT = Path(__file__).parents[1]
MARKER = re.compile(r"^<!-- (include|options|schema|commands) ?(.*) -->$", re.MULTILINE)
WING = re.compile(r"^  (\w+)(?:\.py|/)(?: {2,}(.*))?$", re.MULTILINE)
INTERVAL = re.compile(r"[\[(]-?[\d.]+(?:,| to) -?[\d.]+[\])]")
REFERENCE = "API reference"
UNDOCUMENTED = {"cli"}
"""Wings whose functions nobody calls: commands.md shows the command line."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List a page for every wing under REFERENCE."""
    section = next(entry[REFERENCE] for entry in config.nav or [] if REFERENCE in entry)
    section += [{f"davsp.{wing}": f"api/{wing}.md"} for wing, _ in _wings()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make a page for every wing, of its docstrings."""
    for wing, about in _wings():
        options = "options: {show_root_heading: false, show_root_toc_entry: false}"
        text = f"# davsp.{wing}\n\n{about[:1].upper()}{about[1:]}.\n\n::: davsp.{wing}\n    {options}\n"
        files.append(File.generated(config, f"api/{wing}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Put in what the markers of a page stand for."""

    def shown(match: re.Match[str]) -> str:
        kind, name = match.groups()
        if kind == "include":
            above = re.findall(r"^(#+) ", markdown[: match.start()], re.MULTILINE)
            return _included(name, len(above[-1]))
        return {"options": _options, "schema": _schema, "commands": _commands}[kind](name)

    return MARKER.sub(shown, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Keep an interval in a table on one line."""

    def joined(cell: re.Match[str]) -> str:
        return INTERVAL.sub(lambda interval: interval[0].replace(" ", "&nbsp;"), cell[0])

    return re.sub(r"<td.*?</td>", joined, html, flags=re.DOTALL)


def _wings() -> list[tuple[str, str]]:
    """Name of each wing or module, and what is in it, in the order of the tree."""
    tree = (ROOT / "docs" / "architecture.md").read_text("utf-8").partition("src/davsp/\n")[2].partition("```")[0]
    return [(name, about) for name, about in WING.findall(tree) if name not in UNDOCUMENTED]


def _included(name: str, level: int) -> str:
    """A Markdown file under a heading of that level, without front matter and without its title."""
    text = (ROOT / name).read_text("utf-8")
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    return re.sub(r"^##", "#" * (level + 1), re.sub(r"\A\s*# .*\n", "", text), flags=re.MULTILINE)


def _named(path: str) -> Any:
    """What `module:name` stands for."""
    module, _, name = path.partition(":")
    return vars(import_module(module))[name]


def _options(path: str) -> str:
    """With two paths, the second is of a mapping of the values that the paper chose where it differs."""
    schema, _, paper = path.partition(" ")
    fields: dict[str, FieldInfo] = _named(schema).model_fields
    theirs: dict[str, object] = _named(paper) if paper else {}
    rows = [(f"`{name}`", _default(field), field.description or "") for name, field in fields.items()]
    if not paper:
        return _table(("option", "default", "meaning"), rows)
    values = [f"`{_written(theirs[name])}`" if name in theirs else "" for name in fields]
    wider = [(name, default, value, about) for (name, default, about), value in zip(rows, values, strict=True)]
    return _table(("option", "default", "the paper's", "meaning"), wider)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "must be given"
    return "-" if value is None else f"`{_written(value)}`"


def _schema(path: str) -> str:
    schema = _named(path).model_json_schema(mode="serialization")
    parts: list[str] = []
    for name, part in {schema["title"]: schema, **schema.get("$defs", {})}.items():
        if "properties" in part:
            rows = [(f"`{key}`", _json_type(of), of.get("description", "")) for key, of in part["properties"].items()]
            about = " ".join(part.get("description", "").split())
            parts += [f"**{name}.** {about}", _table(("key", "type", "meaning"), rows)]
    return "\n\n".join(parts)


def _json_type(schema: dict[str, Any]) -> str:
    match schema:
        case {"$ref": ref}:
            return str(ref).rpartition("/")[2]
        case {"anyOf": choices}:
            return " or ".join(map(_json_type, choices))
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"by name: {_json_type(values)}"
        case {"type": "array", "items": dict(items)}:
            return f"list of {_json_type(items)}"
    return str(schema.get("type", ""))


def _commands(_: str) -> str:
    from davsp.cli import app

    parts: list[str] = []
    for name, command in _each_command("davsp", typer.main.get_command(app)):
        rows = []
        for parameter in command.params:
            if parameter.param_type_name == "option":
                names = ", ".join(f"`{each}`" for each in [*parameter.opts, *parameter.secondary_opts])
            else:
                names = f"`{parameter.name.upper()}`"
            rows.append((names, _default_of(parameter), parameter.help or ""))
        parts += [f"## {name}", (command.help or "").strip(), _table(("option", "default", "meaning"), rows)]
    return "\n\n".join(parts)


def _each_command(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its whole name."""
    if not isinstance(command, TyperGroup):
        yield name, command
        return
    for part, below in command.commands.items():
        yield from _each_command(f"{name} {part}", below)


def _default_of(parameter: Any) -> str:
    if parameter.required:
        return "must be given"
    variable = f" or `{parameter.envvar}` of the environment" if parameter.envvar else ""
    value = parameter.default
    return ("-" if value is None or value is False else f"`{_written(value)}`") + variable


def _written(value: object) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(" ".join(c.replace("|", "\\|").split()) for c in line) + " |" for line in lines)
