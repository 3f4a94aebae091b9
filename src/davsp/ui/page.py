"""A page to try a defence on: a question about an image, answered without it and behind it, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from davsp.data.query import Query
from davsp.errors import DavspError, InputError
from davsp.imaging.opening import open_image
from davsp.ui.comparison import Comparison, table_of

MOST_PICTURES = 24
"""In the gallery."""
MOST_UPLOAD = "20mb"
MOST_WAITING = 32
"""Questions; one is answered at a time."""
FONTS = ("system-ui", "sans-serif")
"""Of the machine: gradio's own are fetched from elsewhere."""


def create_page(comparison: Comparison, gallery: Sequence[Query] = ()) -> gr.Blocks:
    """The page; `launch` it. `gallery`: queries that can be chosen with a click, the first MOST_PICTURES of them.

    Raises InputError where an image of the gallery cannot be read.
    """
    pictures = [(open_image(query.image), query.question) for query in gallery[:MOST_PICTURES]]
    name = comparison.defence.name

    def ask(file: str | None, drawn: Any, is_drawn: bool, asked: str) -> Any:
        try:
            chosen = _on_white(drawn) if is_drawn else open_image(Path(file)) if file else None
            if chosen is None:
                raise InputError("there is no image yet: upload or draw one, or choose one below.")
            both = comparison.ask(chosen, asked)
            return *(answered.text for answered in both), comparison.preview(chosen, asked), table_of(*both)
        except DavspError as error:
            raise gr.Error(str(error)) from error

    def choose(chosen: gr.SelectData) -> Any:
        return *pictures[chosen.index], False, gr.Tabs(selected="image")

    with gr.Blocks(title="davsp", analytics_enabled=False) as page:
        gr.Markdown(f"# {comparison.model.name} with and without {name}\n\n{comparison.says_of_projections}")
        is_drawn = gr.State(False)
        with gr.Row():
            with gr.Column():
                with gr.Tabs() as tabs:
                    with gr.Tab("Image", id="image") as uploading:
                        image = gr.Image(
                            label="Image",
                            sources=["upload", "clipboard"],
                            type="filepath",
                            image_mode=None,
                            format="png",
                            elem_id="image",
                        )
                    with gr.Tab("Drawing", id="drawing") as drawing:
                        canvas = gr.Sketchpad(label="Drawing", type="pil", canvas_size=(448, 448), elem_id="canvas")
                behind = gr.Image(label=f"The image behind {name}", format="png", interactive=False, elem_id="behind")
            with gr.Column():
                question = gr.Textbox(label="Question", elem_id="question")
                button = gr.Button("Ask", variant="primary", elem_id="ask")
                with gr.Row():
                    undefended = gr.Textbox(label="Undefended", elem_id="undefended", interactive=False)
                    defended = gr.Textbox(label=f"Behind {name}", elem_id="defended", interactive=False)
                figures = gr.Dataframe(headers=["", "undefended", "defended"], interactive=False, elem_id="figures")
        if pictures:
            shown = gr.Gallery(
                pictures, label="Queries to try", columns=8, allow_preview=False, format="png", elem_id="gallery"
            )
            shown.select(choose, outputs=[image, question, is_drawn, tabs])
        uploading.select(lambda: False, outputs=is_drawn)
        drawing.select(lambda: True, outputs=is_drawn)
        gr.on(
            [button.click, question.submit],
            ask,
            [image, canvas, is_drawn, question],
            [undefended, defended, behind, figures],
        )
    return page


def launch(page: gr.Blocks, host: str, port: int) -> None:
    """Serve the page until it is interrupted. Raises OSError where the port is taken."""
    page.queue(max_size=MOST_WAITING).launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        max_file_size=MOST_UPLOAD,
        footer_links=[],
        theme=gr.themes.Default(font=FONTS, font_mono="monospace"),
    )


def _on_white(drawn: Any) -> Image.Image | None:
    """What was drawn, as an RGB image; None where nothing was."""
    layer = drawn and drawn["composite"] and drawn["composite"].convert("RGBA")
    if not layer or layer.getchannel("A").getextrema() == (0, 0):
        return None
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
