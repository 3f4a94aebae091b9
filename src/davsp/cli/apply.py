"""`davsp apply` and `davsp ask`: a defence put to use, on images and on one conversation."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from davsp.cli import completion
from davsp.cli.options import (
    DEFENCE_HELP,
    DEFENCE_OPTION,
    TESTBED,
    BorderOn,
    Device,
    Dtype,
    MaxPixels,
    MinPixels,
    Precision,
    PromptFolder,
    Revision,
    ServedModelName,
    check_served_model,
    load_model,
    long_running,
    say,
)
from davsp.data.conversation import Role
from davsp.errors import InputError

if TYPE_CHECKING:
    from davsp.data.query import Query
    from davsp.defences.visual_safety_prompt import VisualSafetyPrompt


@long_running
def apply(
    prompt: PromptFolder,
    source: Annotated[
        str,
        typer.Argument(
            help="An image, a folder of images, a .json or .jsonl of conversations, or - for standard input."
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            help="A .png file, a folder for a folder, a .jsonl for conversations, or - for standard output."
        ),
    ],
    workers: Annotated[int | None, typer.Option(min=1, help="Images at a time; default: one for each core.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also write what is there and up to date.")] = False,
    border_on: BorderOn = None,
    min_pixels: MinPixels = None,
    max_pixels: MaxPixels = None,
) -> None:
    """Put the prompt's border around images, and say which size they have then: that at which the model sees them.

    The safety prefix in config.json belongs before the question. Of conversations, in any of the forms that --data is
    read in, every image of a user is put behind the border and the prefix before what is asked last: they are written
    as OpenAI's API takes them.
    """
    from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
    from davsp.prompts.apply import applied, apply_to_file, apply_to_folder, size_line

    loaded = VisualSafetyPrompt.load(prompt).with_limits(min_pixels, max_pixels)
    if Path(source).suffix in (".json", ".jsonl") and Path(source).is_file():
        _write_conversations(loaded.on_images_of({Role.USER, *(border_on or [])}), Path(source), target)
        return
    if source == "-":
        image: Path | bytes = sys.stdin.buffer.read()
    elif Path(source).is_dir():
        if target == "-":
            raise InputError(f"{source} is a folder, and standard output takes one image. Give an output folder.")
        done = apply_to_folder(loaded, Path(source), Path(target), workers=workers, overwrite=overwrite)
        say(f"{done.written} written, {done.skipped} up to date, {len(done.failed)} failed.")
        if done.sizes:
            say(size_line(done.sizes))
        if done.failed:
            raise InputError("\n".join(done.failed))
        return
    else:
        image = Path(source)
    if target == "-":
        content, sizes = applied(loaded, image)
        sys.stdout.buffer.write(content)
    else:
        sizes = apply_to_file(loaded, image, Path(target))
    say(size_line([sizes]))


def _write_conversations(prompt: VisualSafetyPrompt, source: Path, target: str) -> None:
    """A line for each conversation of a file. Raises InputError, and writes nothing, where one cannot be defended."""
    from davsp.data.chat_forms import as_openai
    from davsp.data.readers import read_conversations
    from davsp.util.files import write_bytes
    from davsp.util.progress import bar

    if target != "-" and Path(target).suffix != ".jsonl":
        raise InputError(f"{target}: conversations are written as .jsonl. Give an output name that ends so, or -.")
    queries = read_conversations(source)
    lines = []
    with bar("Applying", len(queries)) as advance:
        for query in queries:
            record = {"id": query.id, "messages": as_openai(prompt.defend(query).messages)}
            lines.append(json.dumps(record, ensure_ascii=False) + "\n")
            advance(1)
    content = "".join(lines).encode()
    if target == "-":
        sys.stdout.buffer.write(content)
    else:
        write_bytes(Path(target), content)
    images = sum(len(query.images) for query in queries)
    say(f"{len(queries)} conversations with {images} images written.")


@long_running
def ask(
    images: Annotated[list[Path] | None, typer.Argument(help="Image files, one, several or none.")] = None,
    question: Annotated[str | None, typer.Argument()] = None,
    messages: Annotated[
        Path | None,
        typer.Option(
            help="Instead of images and question, a conversation: a .json or .jsonl file of messages in the form of "
            "OpenAI's API or of LLaVA's data, or one of --data's files with a single record."
        ),
    ] = None,
    defences: Annotated[
        list[str] | None, typer.Option(*DEFENCE_OPTION, help=DEFENCE_HELP, autocompletion=completion.defences)
    ] = None,
    model: ServedModelName = TESTBED,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 256,
    border_on: BorderOn = None,
    min_pixels: MinPixels = None,
    max_pixels: MaxPixels = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = Precision.AUTO,
) -> None:
    """Ask the model one question about images, or go on with a conversation, with or without a defence."""
    from davsp import api
    from davsp.defences import load_defence
    from davsp.imaging.opening import open_image
    from davsp.models.served import is_served

    if len(defences or []) > 1:
        raise InputError(
            "a question is asked behind one defence: give --defence once, or compare them by `davsp evaluate`."
        )
    query = _asked(images or [], question, messages)  # what is wrong is found before the model is loaded
    for image in query.images:
        open_image(image)
    chosen = load_defence((defences or ["none"])[0]).with_limits(min_pixels, max_pixels)
    chosen = chosen.on_images_of({Role.USER, *(border_on or [])})
    served = is_served(model)
    if served:
        check_served_model(model, revision, [chosen])
    elif min_pixels or max_pixels:
        raise InputError("a loaded model brings its processor's own limits: leave out --min-pixels and --max-pixels.")
    asked = model if served else load_model(model, revision, device, dtype)
    print(api.answer(asked, query, chosen, max_new_tokens=max_new_tokens, remark=say))


def _asked(images: Sequence[Path], question: str | None, messages: Path | None) -> Query:
    from davsp.data.query import Query, check_question
    from davsp.data.readers import read_conversations

    if messages is not None:
        if question is not None:
            raise InputError("--messages brings the question and the images: leave them out.")
        [query, *others] = read_conversations(messages)
        if others:
            raise InputError(
                f"{messages} holds {len(others) + 1} conversations: give one, or ask all by `davsp evaluate --data`."
            )
        return query
    if question is None or (not images and Path(question).is_file()):
        raise InputError("give the question, after the images if there are any, or a conversation by --messages.")
    check_question(question, "the question")
    return Query(", ".join(map(str, images)) or "the question", images, question)
