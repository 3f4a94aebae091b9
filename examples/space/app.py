"""A Hugging Face Space: the page of `davsp ui`, with the testbed's model or your own.

DAVSP_MODEL and DAVSP_DEFENCE, variables of the Space, name another model and another defence. A trained prompt in the
folder `prompt`, beside this file, is taken where no defence is named.
"""

from __future__ import annotations

import os
from pathlib import Path

import davsp
from davsp.ui.comparison import Comparison
from davsp.ui.page import create_page, launch

PROMPT = Path(__file__).parent / "prompt"


def main() -> None:
    name = os.environ.get("DAVSP_MODEL", "testbed")
    defence = davsp.load_defence(os.environ.get("DAVSP_DEFENCE") or (PROMPT if PROMPT.is_dir() else "prefix"))
    gallery = davsp.load_queries("testbed", split="test", per_group=2) if name == "testbed" else []
    comparison = Comparison(davsp.load_model(name), defence)
    launch(create_page(comparison, gallery), "0.0.0.0", int(os.environ.get("PORT", "7860")))  # noqa: S104 - as Spaces do


if __name__ == "__main__":
    main()
