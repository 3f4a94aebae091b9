"""What a defence adds to one request in Python, and to the time until the first token."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from bench.measuring import Row, in_turns, row, spread
from bench.training import prepare
from davsp.data.query import Query
from davsp.prompts.layouts import BorderLayout
from davsp.prompts.visual import VisualPrompt, protect

SIDE, BORDER = 336, 28
REQUESTS = 50


def rows(size: str) -> list[Row]:
    """Milliseconds beyond the resize alone (336 px, image decoded), and the first token's time with the border."""
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (768, 1024, 3), dtype=np.uint8))
    layout = BorderLayout(SIDE, SIDE, border=BORDER)
    border = VisualPrompt(layout, torch.rand(3, SIDE, SIDE) * layout.mask())
    query = Query("", photo, "What is this?")

    def each(work: Callable[[], object]) -> None:
        for _ in range(REQUESTS):
            work()

    seconds = in_turns(
        {
            "ours": lambda: each(lambda: protect(query, border, "")),
            "resize": lambda: each(lambda: layout.interior(photo)),
        }
    )
    added = [1000 * (a - b) / REQUESTS for a, b in zip(seconds["ours"], seconds["resize"], strict=True)]
    extra = {
        "name": "added to a request beyond the resize at 336 px: milliseconds",
        "size": "any",
        "vs_reference": None,
        "vs_floor": spread(added, 1.5),
        "n": len(added),
        "note": "image of 1024 x 768 decoded already",
    }
    return [extra, *_first_token(size)]


def _first_token(size: str) -> list[Row]:
    """Of the same question about the same image, plain and behind the border (no prefix: that is longer text)."""
    with TemporaryDirectory() as folder:
        bench = prepare(size, Path(folder))
        query = bench.objective.sides[True].queries[0]
        prompt = VisualPrompt(bench.objective.plan.layout, bench.trainer.prompt.cpu())
        defended = protect(query, prompt, "")

        def first(asked: Query) -> float:
            begun = time.perf_counter()
            bench.vlm.generate([asked], 1)
            return time.perf_counter() - begun

        several = 20 if size == "testbed" else 3
        seconds = in_turns(
            {
                "floor": lambda: statistics.median(first(query) for _ in range(several)),
                "ours": lambda: statistics.median(first(defended) for _ in range(several)),
            }
        )
    return [row("time to the first token, border : plain, as speed", size, seconds, floor_aim=0.99)]
