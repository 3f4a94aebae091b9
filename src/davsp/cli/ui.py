"""`davsp ui`: a page to try a defence on."""

from __future__ import annotations

import importlib.util
from typing import Annotated

import typer

from davsp.cli import completion
from davsp.cli.options import (
    DATA_HELP,
    DEFENCE_HELP,
    DEFENCE_OPTION,
    TEST_SPLITS,
    TESTBED,
    Device,
    Dtype,
    ModelName,
    Precision,
    Revision,
    load_model,
    queries_of,
    say,
)
from davsp.errors import InputError
from davsp.models.shipped import OF_THE_WORLD
from davsp.testbed.sources import draw_source, is_drawn

PER_GROUP = 2


def ui(
    defence: Annotated[str, typer.Option(*DEFENCE_OPTION, help=DEFENCE_HELP, autocompletion=completion.defences)],
    model: ModelName = TESTBED,
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", help=f"{DATA_HELP} Default: the testbed's for its own models, or none."),
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 for all networks.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen.")] = 7860,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 256,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = Precision.AUTO,
) -> None:
    """A page in the browser: a question about an image, answered undefended and behind a defence, side by side."""
    if importlib.util.find_spec("gradio") is None:
        raise InputError("the page needs gradio, which is not installed. Run: pip install 'davsp[ui]'")
    from davsp.defences import load_defence
    from davsp.ui.comparison import Comparison
    from davsp.ui.page import create_page, launch

    chosen = load_defence(defence)  # what is wrong is found before the model is loaded
    source = data or (TESTBED if model in OF_THE_WORLD else None)
    if source is None:
        queries = []
    elif is_drawn(source):
        queries = draw_source(source, "test", PER_GROUP, model=model)
    else:
        queries = queries_of(source, True, TEST_SPLITS)
    page = create_page(Comparison(load_model(model, revision, device, dtype), chosen, max_new_tokens), queries)
    say(f"Serving the page at http://{host}:{port}. Ctrl-C ends it.")
    launch(page, host, port)
