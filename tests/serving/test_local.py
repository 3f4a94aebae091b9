"""A loaded model by OpenAI's API: the answers that it gives here, to conversations, behind gates."""

from __future__ import annotations

import importlib.util
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn", "prometheus_client", "openai")):
    pytest.skip("the proxy's packages are not installed: pip install 'davsp[dev]'", allow_module_level=True)

import openai

from davsp.api import ask
from davsp.data.conversation import Message
from davsp.data.query import Query
from davsp.defences.alarm import Alarm, AlarmFitOptions
from davsp.defences.base import FittingData
from davsp.defences.gate import Gate, GateFitOptions
from davsp.defences.visual_safety_prompt import TrainingFacts, VisualSafetyPrompt
from davsp.imaging.opening import open_image
from davsp.models.base import VisionLanguageModel
from davsp.models.requests import Request
from davsp.testbed.queries import border_queries, draw_queries
from davsp.testbed.sources import own_side
from davsp.testbed.world import Split
from davsp.training.vector import HarmfulnessVector, project
from tests.serving.processes import OTHER, PHOTO, Proxy, chat, error_of, serving


def test_a_loaded_model_is_served_behind_any_defence_with_the_answers_that_it_gives_here(
    model: VisionLanguageModel, folder: Path, prompt: VisualSafetyPrompt
) -> None:
    queries = draw_queries(Split.TEST, 1, 0, side=own_side("testbed"))[::4]
    expected = [prompt.ask(model, query.image, query.question, 12) for query in queries]
    with serving(None, "--model", "testbed", "--defence", folder, "--max-new-tokens", 12) as served:
        client = openai.OpenAI(base_url=served.address, api_key="none")
        [listed] = client.models.list().data

        def ask(query: Query) -> tuple[str, str]:
            asked: Any = chat(open_image(query.image), query.question, model=listed.id)
            whole = client.chat.completions.create(**asked, temperature=0)
            pieces = client.chat.completions.create(**asked, stream=True)
            said = whole.choices[0].message.content or ""
            assert whole.usage is not None and whole.usage.prompt_tokens > 20
            return said, "".join(piece.choices[0].delta.content or "" for piece in pieces)

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(ask, queries)) == [(answer, answer) for answer in expected]
        for body in (
            chat(*[OTHER] * 17, "which ?"),
            chat("url:http://a/b.png", "q"),
            chat("url:data:image/png;base64,AAAA", "q"),
            chat(OTHER),
            chat("hi", tools=[{"type": "function"}]),
            chat("hi", temperature="hot"),
            chat("hi", max_tokens=-1),
            {"messages": [*chat("hi")["messages"], {"role": "assistant", "content": "you can"}]},
            {"messages": [{"role": "system", "content": "be brief ."}]},
        ):
            reply = served.post(body)
            assert reply.status_code == 400 and error_of(reply)["type"] == "invalid_request_error"
        assert served.metric("davsp_requests_total", endpoint="/chat/completions", status="200") == 2 * len(queries)


TALK = {
    "messages": [
        {"role": "system", "content": "be brief ."},
        *chat(OTHER, "what is it ?")["messages"],
        {"role": "assistant", "content": [{"type": "text", "text": "a red square ."}]},
        *chat("and", PHOTO, "or here ?")["messages"],
    ]
}
"""Three turns and two images, one of them between two texts."""
AS_MESSAGES = (
    Message("system", "be brief ."),
    Message("user", (OTHER, "what is it ?")),
    Message("assistant", "a red square ."),
    Message("user", ("and", PHOTO, "or here ?")),
)


def test_a_loaded_model_is_asked_whole_conversations(
    model: VisionLanguageModel, folder: Path, prompt: VisualSafetyPrompt
) -> None:
    defended = prompt.defend(Query("q", messages=AS_MESSAGES)).messages
    texts = (Message("system", "be brief ."), Message("user", "what is it ?"))
    with serving(None, "--model", "testbed", "--defence", folder, "--max-new-tokens", 12) as served:

        def said(body: dict[str, Any]) -> Any:
            return served.post(body).json()["choices"][0]["message"]["content"]

        assert said(TALK) == model.respond([Request(defended)], 12)[0].text
        body = {"messages": [{"role": m.role.value, "content": m.text} for m in texts]}
        assert said(body) == model.respond([Request(texts)], 12)[0].text
        assert served.wait_for("request", images=2)["calls"] == 1


def test_a_loaded_model_is_served_behind_a_gate_by_its_name_or_in_a_prompts_folder(
    model: VisionLanguageModel, folder: Path, prompt: VisualSafetyPrompt, tmp_path: Path
) -> None:
    """The gate flags the one half of the requests and lets the other through."""
    gate = tmp_path / "gate"
    training, checks = border_queries(seed=0, per_group=12, checks_per_group=10)
    Gate.fit(model, GateFitOptions(rate=0.1), FittingData(training, checks), gate, quiet=True)
    queries = draw_queries(Split.TEST, 1, 0, side=own_side("testbed"))[::3]
    behind = Gate.load(gate).before(prompt)
    expected = [ask(model, query.image, query.question, behind, max_new_tokens=12) for query in queries]
    assert {flagged(behind, model, query) for query in queries} == {True, False}
    both = shutil.copytree(folder, tmp_path / "both")
    shutil.copytree(gate, both / "gate")
    for defence in (f"gate:folder={gate},inner={folder}", both):
        with serving(None, "--model", "testbed", "--defence", defence, "--max-new-tokens", 12) as served:

            def said(query: Query, at: Proxy = served) -> str:
                reply = at.post(chat(open_image(query.image), query.question))
                return str(reply.json()["choices"][0]["message"]["content"])

            with ThreadPoolExecutor(4) as pool:
                assert list(pool.map(said, queries)) == expected
            assert {line["calls"] for line in served.logs if line["event"] == "request"} == {1, 2}


def test_a_raised_alarm_is_logged_and_counted_and_changes_no_answer(
    model: VisionLanguageModel, prompt: VisualSafetyPrompt, vector: HarmfulnessVector, tmp_path: Path
) -> None:
    """It is raised for some of the requests and not for others; at one without an image it does not look."""
    trained = TrainingFacts(layer=vector.layer, tau_plus=1.0, tau_minus=0.0, config={}, data={}, metrics={})
    directed = replace(prompt, training=trained, direction=vector.direction())
    directed.save(tmp_path)
    checks = border_queries(seed=0, per_group=1, checks_per_group=4)[1]
    options = AlarmFitOptions(defence=str(tmp_path), rate=0.1)
    Alarm.fit(model, options, FittingData((), checks), tmp_path / "alarm", quiet=True)
    queries = draw_queries(Split.TEST, 1, 0, side=own_side("testbed"))[::3]
    assert directed.alignment is not None
    scores = project(model, [directed.defend(query) for query in queries], directed.alignment).tolist()
    low, high = max(pairwise(sorted(scores)), key=lambda pair: pair[1] - pair[0])
    config = tmp_path / "alarm" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"threshold": (low + high) / 2}))
    with serving(None, "--model", "testbed", "--defence", tmp_path, "--max-new-tokens", 12) as served:
        for query in queries:
            reply = served.post(chat(open_image(query.image), query.question))
            assert reply.json()["choices"][0]["message"]["content"] == directed.ask(
                model, query.image, query.question, 12
            )
        served.post(chat("what is it ?"))
        served.wait_for("request", images=0)
        told = [line.get("alarm") for line in served.logs if line["event"] == "request"]
        assert told == [*(score >= high for score in scores), None] and {True, False} < set(told)
        assert served.metric("davsp_alarms_total") == sum(score >= high for score in scores)


def flagged(gate: Gate, model: VisionLanguageModel, query: Query) -> bool:
    projection = model.respond([Request(query.messages, watch=gate.watch)], 1)[0].projection
    return gate.watch.flags(projection or 0)
