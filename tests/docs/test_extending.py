"""The examples of the pages on extending davsp, as they stand there, at work."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

from davsp.benchmarks.base import Benchmark
from davsp.data.query import Query
from davsp.defences.base import Exchange
from davsp.judges.base import Criterion
from davsp.models.base import VisionLanguageModel
from davsp.models.requests import Request, Response
from tests.docs.site import ROOT, code_blocks

QUERY = Query("1", Image.new("RGB", (8, 8)), "What is this?")


def example(page: str) -> dict[str, Any]:
    """What the pieces of Python of a page define, all in one module."""
    module = ModuleType("my_parts")
    sys.modules[module.__name__] = module  # data classes look up the names of their annotations there
    for block in code_blocks(ROOT / "docs" / "extending" / f"{page}.md", "python"):
        exec(block, vars(module))
    return vars(module)


def answer(defence: Any, *replies: str) -> str:
    """What a defence answers when the model replies so, one after another."""
    waiting = iter(replies)

    async def send(request: Request, limit: int | None) -> Response:
        return Response(next(waiting), True, None, None)

    reply: str = asyncio.run(defence.answer(QUERY, Exchange(send)))
    return reply


def test_the_example_of_a_rewriting_defence() -> None:
    made = example("defence")
    defence = made["Polite"].from_options(made["PoliteOptions"](words="Look twice."))
    assert defence.defend(QUERY).question == "Look twice.\nWhat is this?"
    assert answer(defence, "A kite.") == "A kite."
    assert defence.identity != made["Polite"].from_options(made["PoliteOptions"]()).identity


def test_the_template_of_a_defence_is_shown_as_it_is() -> None:
    [shown, *_] = code_blocks(ROOT / "docs" / "extending" / "defence.md", "python")
    assert shown == (ROOT / "examples" / "my_defence.py").read_text("utf-8")


def test_the_example_of_a_defence_that_answers_itself() -> None:
    defence = example("defence")["SecondLook"].from_options(None)
    assert answer(defence, "Take a knife.", "Yes.") == "I am sorry, but I cannot help with that."
    assert answer(defence, "A kite.", "No.") == "A kite."


def test_the_example_of_a_benchmark(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "1.png")
    records = [{"id": i, "image": f"{i}.png", "question": "How?", "topic": "fraud"} for i in (1, 2)]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, records)))
    benchmark: Benchmark = example("benchmark")["BENCHMARK"]
    loaded = benchmark.load(tmp_path)
    assert [(query.id, query.malicious, query.group) for query in loaded.queries] == [("1", True, "fraud")]
    assert len(loaded.dropped) == 1 and loaded.notes == ("1 of 100 queries",)


@pytest.mark.parametrize(("reply", "verdict"), [("safe", False), ("unsafe", True), ("It is safe.", None)])
def test_the_example_of_a_judge_that_calls_a_model(reply: str, verdict: bool | None) -> None:
    assert example("judge")["MyGuard"]().parse(Criterion.HARM, reply) is verdict


def test_the_example_of_a_judge_that_calls_none() -> None:
    judge = example("judge")["SorryJudge"].bound_to(None)
    assert asyncio.run(judge.find(Criterion.HARM, "How?", "Sorry, no.")).value is False
    assert asyncio.run(judge.find(Criterion.REFUSAL, "How?", "Sorry, no.")).value is True


def test_the_example_of_a_family(model: VisionLanguageModel) -> None:
    own = example("family")["Mine"](model.model, model.processor, "mine", None)
    assert own.canvas == model.canvas and own.grid == model.grid
    pixels = torch.rand(2, 3, 112, 112, generator=torch.manual_seed(0))
    torch.testing.assert_close(own.pack(pixels)["pixel_values"], model.pack(pixels)["pixel_values"])
