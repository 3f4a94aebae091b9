"""Every `davsp ...` that README.md, CONTRIBUTING.md and docs/ show can be typed: command, subcommand and options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from davsp.cli import app
from davsp.training.config import TrainConfig

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^ *(```+|~~~+)[^\n]*\n(.*?)^ *\1", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
CALL = re.compile(r"\s*(?:\$ )?(?:[A-Z_]+=\S* )*(?:.* -m |\S*/)?davsp(?: +(?P<words>.+))?$")
AFTERWARDS = {"|", ">", ">>", "2>", "<", "&&", "||", ";"}
OF_OTHERS = {"--model-role", "--mm-processor-kwargs"}
"""Options of `inspect eval` and of vLLM that the documents speak of."""


def in_blocks(markdown: str) -> Iterator[list[str]]:
    """The words after `davsp` in every command line of the code blocks."""
    for block in FENCE.finditer(markdown):
        yield from called(block[2].replace("\\\n", " ").splitlines())


def in_sentences(markdown: str) -> Iterator[list[str]]:
    """The words after `davsp` in the code within sentences."""
    yield from called(" ".join(span.split()) for span in INLINE.findall(FENCE.sub("", markdown)))


def called(lines: Iterable[str]) -> Iterator[list[str]]:
    for line in lines:
        if found := CALL.match(line):
            words = shlex.split((found["words"] or "").replace("...", " "), comments=True)
            end = next((i for i, word in enumerate(words) if word in AFTERWARDS), len(words))
            yield words[:end]


def options_in_sentences(markdown: str) -> list[str]:
    """The long options that code within sentences begins with, such as `--dry-run`."""
    return re.findall(r"(?<!`)`(--[a-z][\w-]*)", FENCE.sub("", markdown))


def problem(words: list[str]) -> str | None:
    """What the command line says of these words, read and not run: None, if it takes them."""
    command: Any = typer.main.get_command(app)
    context, name = None, "davsp"
    while True:
        context = command.context_class(command, info_name=name, parent=context, **command.context_settings)
        try:
            values, rest, _ = command.make_parser(context).parse_args(list(words))
        except Exception as error:
            return f"{context.command_path}: {error}"
        if not isinstance(command, TyperGroup):
            break
        if not rest or rest[0] == "COMMAND":  # any of them
            return None
        name, *words = rest
        if name not in command.commands:
            return f"{context.command_path} has no command {name!r}"
        command = command.commands[name]
    if rest:
        return f"{context.command_path}: {rest[0]!r} is too much"
    settings = [setting.partition("=")[0] for setting in values.get("set_") or ()]
    if name == "train" and (unknown := set(settings) - set(TrainConfig.model_fields)):
        return f"{context.command_path} --set knows no {', '.join(sorted(unknown))}"
    return None


def all_options(command: Any) -> set[str]:
    own = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return own.union(*map(all_options, command.commands.values())) if isinstance(command, TyperGroup) else own


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_line_in_the_documents_can_be_typed(document: Path) -> None:
    shown = document.read_text("utf-8")
    wrong = [found for words in in_blocks(shown) if (found := problem(words))]
    # A sentence may name an option without a value.
    wrong += [found for words in in_sentences(shown) if problem([*words, "VALUE"]) and (found := problem(words))]
    assert wrong == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_option_in_the_sentences_of_the_documents_exists(document: Path) -> None:
    known = all_options(typer.main.get_command(app)) | OF_OTHERS
    assert set(options_in_sentences(document.read_text("utf-8"))) - known == set()


def test_every_command_is_in_the_documents() -> None:
    text = "\n".join(path.read_text("utf-8") for path in DOCUMENTS)
    shown = {words[0] for words in (*in_blocks(text), *in_sentences(text)) if words}
    command: Any = typer.main.get_command(app)
    assert set(command.commands) - shown == set()


SHOWN = """
Text with `davsp report FOLDER`, `davsp
testbed score`, `--dry-run` and `import davsp`.

```
$ davsp apply runs/prompt photos/ hardened/     # or - for a pipe
DAVSP_SEED=3 davsp evaluate --defence a \\
  --defence "eta:prefix=i am" > FILE
accelerate launch --num_processes 2 -m davsp train ...
davsp-like but other
```

```python
from davsp import load_model
import davsp
```
"""


def test_command_lines_are_found_in_blocks_and_sentences() -> None:
    assert [*in_blocks(SHOWN), *in_sentences(SHOWN)] == [
        ["apply", "runs/prompt", "photos/", "hardened/"],
        ["evaluate", "--defence", "a", "--defence", "eta:prefix=i am"],
        ["train"],
        ["report", "FOLDER"],
        ["testbed", "score"],
    ]
    assert options_in_sentences(SHOWN) == ["--dry-run"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("frobnicate", "no command 'frobnicate'"),
        ("testbed frobnicate", "davsp testbed has no command"),
        ("train --stepz 3", "--stepz"),
        ("train --set stepz=3 --out x", "knows no stepz"),
        ("evaluate --out", "--out"),
        ("apply runs/prompt photo.png out.png more", "'more' is too much"),
        ("--frobnicate train", "--frobnicate"),
    ],
)
def test_what_cannot_be_typed_is_found(line: str, said: str) -> None:
    assert said in (problem(line.split()) or "")
