"""Models on OpenAI-compatible servers: a real `transformers serve`, and small servers that fail in set ways."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from davsp.cli import main
from davsp.data.query import Query
from davsp.defences.loading import load_defence
from davsp.defences.stored import BaseModelFacts
from davsp.defences.textual import Undefended
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.errors import ModelError
from davsp.imaging.canvas import GridCanvas
from davsp.imaging.opening import open_image
from davsp.models.base import VisionLanguageModel
from davsp.models.loading import load_model
from davsp.models.served import is_served
from davsp.prompts.frame import FrameLayout
from davsp.prompts.layouts import BorderLayout, Layout
from davsp.prompts.visual import VisualPrompt
from davsp.testbed.queries import draw_queries
from davsp.testbed.sources import own_side
from davsp.testbed.world import Split

pytest.importorskip("inspect_ai")
if importlib.util.find_spec("openai") is None:
    pytest.skip("openai is not installed: pip install 'davsp[endpoints]'", allow_module_level=True)

from davsp.evaluation.run import evaluate
from davsp.evaluation.served import ServerConnection
from tests.command_line import run as command
from tests.evaluation.fakes import transcripts
from tests.evaluation.server import Server, serving

QUERIES = [
    Query(f"q{i}", Image.new("RGB", (40, 30), (i, 0, 0)), f"what colour {i} ?", "red", group="colours")
    for i in range(10)
]


def run(model: str, out: Path, *defences: Any, queries: Any = QUERIES) -> Any:
    chosen = defences or (Undefended(),)
    return evaluate(model, chosen, queries, output=out, batch_size=2, max_new_tokens=8, progress=False).to_json()


@pytest.fixture(autouse=True)
def _few_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own two retries within seconds, and none of the long ones after them."""
    monkeypatch.setattr("davsp.evaluation.served.RETRIES", 0)


# --- what is sent


def test_a_server_is_asked_greedily_and_its_tokens_are_counted(tmp_path: Path) -> None:
    with serving(lambda number, body: (200, "red")) as server:
        results = run(server.model, tmp_path)
    assert results["defences"]["none"]["benign_accuracy"]["colours"]["rate"] == 1.0
    assert results["model"] == server.model
    cost = results["cost"]["none"]
    assert (cost["calls"], cost["input_tokens"], cost["output_tokens"]) == (1, 7, 3)
    for body in server.asked:
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("small", 0, 8)
    assert {image.size for image in server.images} == {(40, 30)}
    assert {image.getpixel((0, 0)) for image in server.images} == {(i, 0, 0) for i in range(10)}


def test_one_question_goes_to_a_server_behind_a_defence(
    tmp_path: Path, model: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    QUERIES[0].image.save(tmp_path / "photo.png")  # type: ignore[union-attr]
    prompt = _random(model, BorderLayout(112, 112, border=14))
    prompt.save(tmp_path / "prompt")

    def ask(server: Server, *arguments: object) -> tuple[int, str, str]:
        asking = ["ask", tmp_path / "photo.png", "what is it ?", "--model", server.model, "--max-new-tokens", 8]
        return command(monkeypatch, capsys, *asking, *arguments)

    with serving(lambda number, body: (200, "it is red .")) as server:
        assert ask(server)[:2] == (0, "it is red .\n")
        status, out, err = ask(server, "--defense", tmp_path / "prompt")
        assert (status, out) == (0, "it is red .\n") and "cannot be compared with the model" in err
        assert ask(server, "--revision", "main")[0] == 2
    assert [image.size for image in server.images] == [(40, 30), (112, 112)]
    assert np.array_equal(server.images[1], prompt.apply_to_image(QUERIES[0].image))  # type: ignore[arg-type]
    assert {(body["model"], body["temperature"], body["max_tokens"]) for body in server.asked} == {("small", 0, 8)}
    with serving(lambda number, body: (404, {"message": "no such model"})) as server:
        status, out, err = ask(server)
    assert (status, out) == (2, "") and "the server failed" in err and "Traceback" not in err


def test_images_arrive_at_exactly_the_size_the_servers_processor_keeps(
    tmp_path: Path, model: VisionLanguageModel
) -> None:
    frame = FrameLayout(GridCanvas(28, 28 * 28, 280 * 280), border=14, edge=28)
    prompts = [_random(model, layout) for layout in (BorderLayout(112, 112, border=14), frame)]
    for prompt, size in zip(prompts, [(112, 112), (84, 84)], strict=True):
        with serving(lambda number, body: (200, "red")) as server:
            run(server.model, tmp_path / f"{size[0]}", prompt, queries=QUERIES[:1])
        [sent] = server.images
        assert sent.size == size
        assert np.array_equal(sent, prompt.apply_to_image(QUERIES[0].image))  # type: ignore[arg-type]
    inside = open_image(QUERIES[0].image)
    assert sent.crop((14, 14, 54, 44)).tobytes() == inside.tobytes(), "a frame leaves the image as it is"


def test_images_are_composed_within_the_limits_that_are_said_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A frame keeps the width that it was trained with; what a server would shrink is refused before it is asked."""
    qwen = load_model("testbed-qwen2vl")
    frame, border = FrameLayout(qwen.canvas, 8, 16), BorderLayout(112, 112, border=8)
    for name, layout in (("frame", frame), ("border", border)):
        replace(_random(qwen, layout), name=name).save(tmp_path / name)
    Image.effect_noise((200, 160), 80).convert("RGB").save(tmp_path / "photo.png")
    (tmp_path / "q.csv").write_text("image,question,malicious,answer\nphoto.png,what is it ?,false,red\n")

    def ask(server: Server, *arguments: object) -> tuple[int, str]:
        asking = ["evaluate", "--model", server.model, "--data", tmp_path / "q.csv", "--batch-size", 1]
        status, _, said = command(monkeypatch, capsys, *asking, "--out", tmp_path / "out", *arguments)
        return status, said

    limits = ("--min-pixels", 64, "--max-pixels", 96 * 96)
    with serving(lambda number, body: (200, "red")) as server:
        status, said = ask(server, "--defence", tmp_path / "border", *limits)
        assert status == 2 and not server.asked
        assert "border composes images of 112 x 112 pixels" in said and "takes images of 64 to 9216 pixels" in said
        status, said = ask(server, "--defence", tmp_path / "frame", *limits)
        assert status == 0 and "leaves images as they are within the same limits" in said
    [sent] = [np.asarray(image) for image in server.images if image.size != (200, 160)]
    assert sent.shape[0] * sent.shape[1] <= 96 * 96
    pixels = VisualSafetyPrompt.load(tmp_path / "frame").visual.pixels  # type: ignore[union-attr]
    assert np.array_equal(sent[:8, :24], (pixels[:, :8, :24] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
    asking = ["evaluate", "--model", "testbed-qwen2vl", "--out", tmp_path / "loaded", "--max-pixels", 9216]
    status, _, said = command(monkeypatch, capsys, *asking)
    assert status == 2 and "a loaded model brings its processor's own limits" in said


def _random(model: VisionLanguageModel, layout: Layout) -> VisualSafetyPrompt:
    pixels = torch.rand(3, *layout.size, generator=torch.manual_seed(0))
    layout.project_(pixels)
    return VisualSafetyPrompt("mine", VisualPrompt(layout, pixels), "be careful .", base_model=BaseModelFacts.of(model))


# --- what goes wrong


def test_too_many_requests_and_server_errors_are_tried_again(tmp_path: Path) -> None:
    with serving(lambda number, body: ({1: 429, 2: 500}.get(number, 200), "red")) as server:
        results = run(server.model, tmp_path, queries=QUERIES[:1])
    assert len(server.asked) == 3
    assert results["unscored"] == {"none": 0}


def test_an_empty_answer_is_unscored(tmp_path: Path) -> None:
    with serving(lambda number, body: (200, "")) as server:
        results = run(server.model, tmp_path)
    assert results["unscored"] == {"none": 10}
    assert transcripts(tmp_path)["q0"]["none"]["error"] == "the answer is empty"


def test_a_query_that_the_server_refuses_is_unscored_and_the_others_are_asked(tmp_path: Path) -> None:
    def reply(number: int, body: dict[str, Any]) -> tuple[int, str]:
        bad = any(f"colour {i} " in json.dumps(body) for i in (0, 1, 2, 3))
        return (422, "this image is no image") if bad else (200, "red")

    with serving(reply) as server:
        results = run(server.model, tmp_path)
    assert results["unscored"] == {"none": 4}
    assert "this image is no image" in transcripts(tmp_path)["q0"]["none"]["error"]


def test_a_server_that_dies_leaves_a_run_that_the_same_command_goes_on_with(tmp_path: Path) -> None:
    with (
        serving(lambda number, body: (200, "red") if number <= 2 else (0, "")) as server,
        pytest.raises(
            ModelError, match=r"was lost while 'none' was evaluated: APIConnectionError.*2 of 10 answers are"
        ),
    ):
        run(server.model, tmp_path)
    assert not (tmp_path / "results.json").exists()
    asked = {json.dumps(body) for body in server.asked}
    assert len(asked) < len(QUERIES), "once it is lost, nothing more is sent"
    with serving(lambda number, body: (200, "red"), server.server_port) as again:
        results = run(again.model, tmp_path)
    assert len(again.asked) == 8
    assert results["defences"]["none"]["benign_accuracy"]["colours"]["n"] == 10


def test_a_server_that_was_lost_stays_lost_though_a_late_answer_comes_in() -> None:
    async def fails() -> str:
        raise ConnectionError("refused")

    async def late() -> str:
        await asyncio.sleep(0.05)
        return "red"

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(line.send(late), *[line.send(fails) for _ in range(3)], return_exceptions=True)

    line = ServerConnection()
    assert asyncio.run(all_at_once())[0] == "red"
    assert line.lost and "refused" in line.last_failure
    with pytest.raises(ModelError, match=r"not sent: the server was lost \(ConnectionError: refused\)"):
        asyncio.run(line.send(late))


def test_a_defence_that_begins_answers_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Begins(Undefended):
        begins_answers = True

    monkeypatch.setattr("davsp.defences.load_defence", lambda name: Begins())
    server = "http://127.0.0.1:9/v1=m"
    monkeypatch.setattr(sys, "argv", ["davsp", "evaluate", "--model", server, "--out", "x", "--defence", "begins"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "goes on from a begun answer" in capsys.readouterr().err


def test_hub_ids_and_folders_are_no_servers() -> None:
    names = ["http://a/v1=m", "https://a/v1=m", "openai-api/a/m", "openai/gpt-oss", "testbed", "a/b"]
    assert [is_served(name) for name in names] == [True, True, True, False, False, False]


# --- transformers serve


@pytest.mark.slow
def test_answers_from_transformers_serve_equal_the_local_ones(
    transformers_serve: str, model: VisionLanguageModel, tmp_path: Path
) -> None:
    queries = draw_queries(Split.TEST, 1, 0, side=own_side("testbed"))[::2]
    larger = [replace(q, id=f"{q.id}-larger", image=open_image(q.image).resize((200, 140))) for q in queries[:3]]
    prompt = _random(model, BorderLayout(112, 112, border=14))
    kinds: list[tuple[str, list[Query], Any]] = [
        ("undefended", queries, Undefended()),
        ("defended", [*queries, *larger], prompt),
    ]
    for name, asked, defence in kinds:
        found = []
        for where in (transformers_serve, model):
            folder = tmp_path / name / ("local" if where is model else "served")
            evaluate(where, [defence], asked, output=folder, batch_size=4, max_new_tokens=20, progress=False)
            found.append({id_: said[defence.name]["text"] for id_, said in transcripts(folder).items()})
        assert found[0] == found[1]
        assert len(found[0]) == len(asked) and all(found[0].values())


def test_a_text_that_a_served_model_refuses_is_refused_in_an_image_and_changes_its_answer(tmp_path: Path) -> None:
    def answer(number: int, body: dict[str, Any]) -> tuple[int, str]:
        return 200, "Fold it twice." if "image_url" in json.dumps(body) else "I am sorry, but I cannot help with that."

    queries = [replace(query, answer=None, malicious=query.id == "q0") for query in QUERIES[:4]]
    with serving(answer) as server:
        results = run(server.model, tmp_path, Undefended(), load_defence("transcribe"), queries=queries)
    undefended, behind = results["defences"]["none"], results["defences"]["transcribe"]
    assert (undefended["rsr"]["colours"]["rate"], behind["rsr"]["colours"]["rate"]) == (0.0, 1.0)
    assert (undefended["unchanged"]["colours"]["rate"], behind["unchanged"]["colours"]["rate"]) == (1.0, 0.0)
    assert behind["unchanged"]["colours"]["n"] == 3
    assert len(server.asked) == 4 + 2 * 4, "nothing is asked twice"
