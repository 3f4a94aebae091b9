"""`davsp serve` as it is used: real processes, a stub server that looks at what arrives, the real OpenAI client."""

from __future__ import annotations

import asyncio
import base64
import http.client
import importlib.util
import io
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn", "prometheus_client", "openai")):
    pytest.skip("the proxy's packages are not installed: pip install 'davsp[dev]'", allow_module_level=True)

import openai

from davsp.data.query import Query
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.imaging.opening import open_image
from davsp.models.base import VisionLanguageModel
from davsp.testbed.queries import draw_queries
from davsp.testbed.sources import own_side
from davsp.testbed.world import Split
from tests.command_line import run as command
from tests.serving.processes import OTHER, PHOTO, PREFIX, Proxy, Stub, chat, data_uri, error_of, serving, stub_server


@pytest.fixture(scope="module")
def stub(folder: Path) -> Iterator[Stub]:
    with stub_server(folder / "border.png") as server:
        yield server


@pytest.fixture(scope="module")
def proxy(stub: Stub, folder: Path) -> Iterator[Proxy]:
    """With low limits, so that they can be met."""
    limits = ("--max-body", 1, "--max-images", 3, "--max-megapixels", 0.05, "--body-timeout", 2, "--timeout", 3)
    with serving(stub.address, "--defence", folder, *limits) as running:
        yield running


def image_in(uri: str) -> np.ndarray:
    assert uri.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


# --- what is sent on


def test_the_openai_client_needs_only_another_base_url(stub: Stub, proxy: Proxy, prompt: VisualSafetyPrompt) -> None:
    client = openai.OpenAI(base_url=proxy.address, api_key="sk-secret", max_retries=0)
    asked: Any = chat(PHOTO, "what is it ?")
    whole = client.chat.completions.create(**asked, temperature=0.5)
    assert (whole.choices[0].message.content or "").startswith("I am sorry")
    sent = stub.last
    [image, text] = sent["body"]["messages"][0]["content"]
    assert np.array_equal(image_in(image["image_url"]["url"]), np.asarray(prompt.apply_to_image(PHOTO)))
    assert text == {"type": "text", "text": f"{PREFIX}\nwhat is it ?"}
    assert sent["body"]["temperature"] == 0.5
    assert sent["headers"]["authorization"] == "Bearer sk-secret"
    assert sent["headers"]["x-request-id"] == whole._request_id
    pieces = list(client.chat.completions.create(**asked, stream=True))
    assert (
        "".join(piece.choices[0].delta.content or "" for piece in pieces) == "I am sorry, but I cannot help with that. "
    )
    assert stub.last["body"]["stream"] is True and stub.counts["undefended"] == 0
    response = client.responses.create(
        model="small",
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "input_image", "image_url": data_uri(PHOTO, "jpeg"), "detail": "auto"},
                    {"type": "input_text", "text": "what ?"},
                ],
            }
        ],
    )
    assert response.output_text.startswith("I am sorry")
    assert stub.last["body"]["input"][0]["content"][1]["text"] == f"{PREFIX}\nwhat ?"
    assert client.completions.create(model="small", prompt="hello").choices[0].text == "Fold it twice."
    assert stub.last["body"] == {"model": "small", "prompt": "hello"}
    assert [model.id for model in client.models.list()] == ["small"]
    assert stub.counts["undefended"] == 0


def test_every_image_of_every_turn_is_put_behind_the_border_and_known_ones_once(stub: Stub, proxy: Proxy) -> None:
    before = proxy.metric("davsp_images_total", cached="true")
    tool = {"role": "tool", "tool_call_id": "1", "content": chat(OTHER)["messages"][0]["content"]}
    body = chat(OTHER, PHOTO, "which ?")
    body["messages"] = [
        {"role": "system", "content": "be brief"},
        *chat(OTHER, "what ?")["messages"],
        {"role": "assistant", "content": "red"},
        tool,
        *chat("and now ?")["messages"],
    ]
    assert proxy.post(body).status_code == 200
    messages = stub.last["body"]["messages"]
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "tool", "user"]
    assert image_in(messages[1]["content"][0]["image_url"]["url"]).shape == (112, 112, 3)
    assert image_in(messages[3]["content"][0]["image_url"]["url"]).shape == (112, 112, 3)
    assert messages[1]["content"][1]["text"] == "what ?" and messages[0]["content"] == "be brief"
    assert messages[4]["content"][0]["text"] == f"{PREFIX}\nand now ?"
    assert stub.counts["undefended"] == 0
    assert proxy.metric("davsp_images_total", cached="true") >= before + 1


def test_a_request_without_image_is_sent_as_it_came(stub: Stub, proxy: Proxy) -> None:
    body = {
        "model": "small",
        "messages": [{"role": "user", "content": "hé 😀"}],
        "odd": {"x": [1.5, None, 10**20]},
    }
    reply = proxy.client.post("/chat/completions?api-version=1", json=body, headers={"x-own": "1"})
    assert reply.status_code == 200 and reply.headers["x-served-by"] == "stub"
    assert stub.last["body"] == body and stub.last["path"] == "/v1/chat/completions?api-version=1"
    assert stub.last["headers"]["x-own"] == "1"
    assert reply.cookies["session"] == "1"
    assert httpx.post(f"{proxy.address}/chat/completions", json=body).status_code == 200
    assert "cookie" not in stub.last["headers"]  # what the server gave one client is not sent for another


def test_a_stream_is_passed_on_piece_by_piece(proxy: Proxy) -> None:
    with proxy.client.stream("POST", "/chat/completions", json=chat("hi", model="fault:slow", stream=True)) as reply:
        times = [time.monotonic() for _ in reply.iter_raw()]
    assert len(times) > 10 and times[-1] - times[0] > 0.1


# --- what is refused


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (chat("url:data:image/png;base64,AAAA", "q"), 400, "invalid_image"),
        (chat("url:data:image/png;base64,%%", "q"), 400, "invalid_image"),
        (chat("url:data:image/png,AAAA", "q"), 400, "invalid_image"),
        (chat("url:https://example.com/a.png", "q"), 400, "image_url_not_allowed"),
        (chat("url:http://169.254.169.254/latest/meta-data", "q"), 400, "image_url_not_allowed"),
        (chat("url:file:///etc/passwd", "q"), 400, "image_url_not_allowed"),
        (chat(Image.new("RGB", (300, 300)), "q"), 400, "invalid_image"),
        (chat(*[OTHER] * 4, "q"), 400, "too_many_images"),
        (chat("x" * 2**20), 413, "request_too_large"),
        ({"messages": [chat(OTHER)["messages"][0] | {"role": "system"}]}, 400, "no_user_message"),
        ({"model": "small", "messages": "hi"}, 400, "invalid_messages"),
        (chat("hi", mm_processor_kwargs={"max_pixels": 1}), 400, "unsupported_field"),
        ([], 400, "invalid_json"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_cannot_be_put_behind_the_defence_is_refused_and_not_sent(
    stub: Stub, proxy: Proxy, body: Any, status: int, code: str
) -> None:
    before = stub.counts
    reply = proxy.post(body)
    assert (reply.status_code, error_of(reply)["code"]) == (status, code)
    assert error_of(reply)["type"] == "invalid_request_error"
    after = stub.counts
    assert [after[kind] for kind in ("defended", "undefended", "text")] == [
        before[kind] for kind in ("defended", "undefended", "text")
    ]


def test_bodies_that_two_readers_may_read_differently_are_sent_as_they_were_read_here(stub: Stub, proxy: Proxy) -> None:
    text, image = (json.dumps(chat(one, "q")["messages"]) for one in ("hi", OTHER))
    twice = f'{{"model": "small", "messages": {image}, "messages": {text}}}'
    before = stub.counts["text"]
    assert proxy.client.post("/chat/completions", content=twice.encode("utf-16")).status_code == 200
    assert stub.counts["text"] == before + 1 and stub.counts["undefended"] == 0
    for content, headers, status in (
        (b"{", {}, 400),
        (b'{"messages": [], "n": NaN}', {}, 400),
        (b"[" * 10**5, {}, 400),
        (b"\xff\xff", {}, 400),
        (b"x", {"content-encoding": "gzip"}, 415),
    ):
        reply = proxy.client.post("/chat/completions", content=content, headers=headers)
        assert reply.status_code == status, reply.text


def test_no_other_endpoint_and_no_other_way_of_writing_one_leads_to_the_server(stub: Stub, proxy: Proxy) -> None:
    url, body = httpx.URL(proxy.root), json.dumps(chat(OTHER, "q"))

    def post(path: str, method: str = "POST") -> tuple[int, Any]:
        connection = http.client.HTTPConnection(url.host, url.port)
        connection.request(method, path, body, {"content-type": "application/json"})
        reply = connection.getresponse()
        found = reply.status, json.loads(reply.read())
        connection.close()
        return found

    before = stub.counts
    for path in (
        "/v1/files",
        "/invocations",
        "/v1//chat/completions",
        "/v1/models/../chat/completions",
        "/v1/../v1/models",
    ):
        status, told = post(path)
        assert status in (404, 405) and told["error"]["code"] == "unsupported_endpoint"
    assert post("/v1/chat/completions", "PUT")[0] == 405
    assert stub.counts == before
    assert post("/v1/chat%2Fcompletions")[0] == 200
    assert stub.counts["undefended"] == 0 and stub.counts["defended"] == before["defended"] + 1


def test_a_body_that_comes_too_slowly_is_given_up(proxy: Proxy) -> None:
    port = httpx.URL(proxy.root).port
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        slow.settimeout(10)
        assert b" 408 " in slow.recv(4096)


# --- what goes wrong at the server


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("reset", 502, "upstream_failed"),
        ("half", 502, "upstream_failed"),
        ("hang", 504, "upstream_timeout"),
        ("500", 500, None),
    ],
)
def test_a_server_that_fails_gives_an_error_in_the_form_of_the_api(
    proxy: Proxy, fault: str, status: int, code: str | None
) -> None:
    reply = proxy.post(chat(OTHER, "q", model=f"fault:{fault}"))
    assert reply.status_code == status
    if code:
        assert error_of(reply) | {"message": ""} == {"message": "", "type": "server_error", "param": None, "code": code}
    else:
        assert reply.json() == {"error": {"message": "out of memory"}}


def test_a_stream_that_breaks_off_ends_with_an_error_that_the_client_raises(proxy: Proxy) -> None:
    client = openai.OpenAI(base_url=proxy.address, api_key="k", max_retries=0)
    asked: Any = chat(OTHER, "q", model="fault:half")
    with pytest.raises(openai.APIError, match="broke off"):
        list(client.chat.completions.create(**asked, stream=True))


def test_a_client_that_leaves_cancels_the_request_at_the_server(stub: Stub, proxy: Proxy) -> None:
    before = stub.counts["left"]
    with pytest.raises(httpx.ReadTimeout):
        proxy.client.post("/chat/completions", json=chat(OTHER, "q", model="fault:hang"), timeout=0.5)
    until = time.monotonic() + 2
    while stub.counts["left"] == before and time.monotonic() < until:
        time.sleep(0.02)
    assert stub.counts["left"] == before + 1
    proxy.wait_for("request", code="client_left")
    assert proxy.metric("davsp_requests_in_flight") == 0


def test_a_server_that_is_not_there_gives_502_and_is_not_ready(folder: Path, stub: Stub) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with serving(nowhere, "--defence", folder, "--text-only", "prefix") as proxy:
        assert error_of(proxy.post(chat("hi")))["code"] == "upstream_unreachable"
        assert httpx.get(f"{proxy.root}/ready", trust_env=False).status_code == 503
        assert httpx.get(f"{proxy.root}/health", trust_env=False).json() == {"status": "ok"}


# --- faults in great number


def test_under_random_faults_nothing_undefended_is_sent_and_nothing_is_left_behind(stub: Stub, proxy: Proxy) -> None:
    from bench.faults import fault_storm

    process = psutil.Process(proxy.process.pid)
    before, connections = stub.counts, len(process.net_connections())
    done = asyncio.run(fault_storm(proxy.address, 300, 16, 0, [data_uri(PHOTO), data_uri(OTHER, "jpeg")]))
    assert done.total() == 300 and done["hung"] == 0
    assert min(done[kind] for kind in ("answered", "refused", "failed", "left")) > 10
    until = time.monotonic() + 10
    while time.monotonic() < until and (
        proxy.metric("davsp_requests_in_flight") or len(process.net_connections()) > connections + 20
    ):
        time.sleep(0.1)
    assert proxy.metric("davsp_requests_in_flight") == 0 and proxy.metric("davsp_hardening_queue") == 0
    assert stub.counts["undefended"] == 0 and stub.counts["defended"] > before["defended"] + 50
    assert len(process.net_connections()) <= connections + 20, "the client's sixteen, and as many to the server"


# --- limits of what is in work


def test_more_requests_than_there_are_places_for_get_429_at_once(folder: Path) -> None:
    with (
        stub_server(folder / "border.png", delay=1.0) as stub,
        serving(stub.address, "--defence", folder, "--max-requests", 2) as proxy,
    ):
        replies: list[tuple[httpx.Response, float]] = []

        def ask() -> None:
            begun = time.monotonic()
            reply = httpx.post(f"{proxy.address}/chat/completions", json=chat(OTHER, "q"), trust_env=False, timeout=30)
            replies.append((reply, time.monotonic() - begun))

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(reply.status_code for reply, _ in replies) == [200] * 2 + [429] * 4
        for reply, seconds in replies:
            if reply.status_code == 429:
                assert reply.headers["retry-after"] == "1" and seconds < 0.9
                assert (error_of(reply)["type"], error_of(reply)["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        assert proxy.metric("davsp_refused_total", code="rate_limit_exceeded") == 4


# --- another prompt while it runs, and the end


def _changed(prompt: VisualSafetyPrompt) -> VisualSafetyPrompt:
    assert prompt.visual is not None
    return replace(prompt, prefix="be very careful .", visual=replace(prompt.visual, pixels=1 - prompt.visual.pixels))


def test_another_prompt_is_taken_whole_or_not_at_all(prompt: VisualSafetyPrompt, folder: Path, tmp_path: Path) -> None:
    served, new = tmp_path / "served", _changed(prompt)
    shutil.copytree(folder, served)
    new.visual.layout.project_(new.visual.pixels)  # type: ignore[union-attr]
    with stub_server() as stub, serving(stub.address, "--defence", served) as proxy:

        def sent() -> tuple[bool, str]:
            assert proxy.post(chat(PHOTO, "q")).status_code == 200
            image, text = stub.last["body"]["messages"][0]["content"]
            return bool((image_in(image["image_url"]["url"]) == prompt.apply_to_image(PHOTO)).all()), text["text"]

        old = (True, f"{PREFIX}\nq")
        assert sent() == old
        proxy.hang_up()
        assert proxy.wait_for("reloaded")["changed"] is False
        whole = (served / "model.safetensors").read_bytes()
        (served / "model.safetensors").write_bytes(whole[:-9])
        proxy.wait_for("reload_failed")
        proxy.hang_up()
        assert sent() == old
        shutil.rmtree(served)
        assert sent() == old
        new.save(served)
        proxy.wait_for("reloaded", changed=True)
        assert sent() == (False, "be very careful .\nq")
        assert proxy.metric("davsp_reloads_total", result="kept") >= 1


def test_several_workers_count_together_reload_together_and_answer_before_they_end(folder: Path) -> None:
    with (
        stub_server(folder / "border.png", delay=0.7) as stub,
        serving(stub.address, "--defence", folder, "--workers", 2) as proxy,
    ):

        def both(event: str) -> None:
            until = time.monotonic() + 120
            while sum(line["event"] == event for line in list(proxy.logs)) < 2 and time.monotonic() < until:
                time.sleep(0.02)
            assert sum(line["event"] == event for line in proxy.logs) == 2

        def ask(**fields: Any) -> httpx.Response:
            body = chat(OTHER, "q", **fields)
            return httpx.post(f"{proxy.address}/chat/completions", json=body, trust_env=False, timeout=30)

        both("Application startup complete.")
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda _: ask(), range(6)))
            assert proxy.metric("davsp_requests_total", endpoint="/chat/completions", status="200") == 6
            proxy.hang_up()
            both("reloaded")
            last = pool.submit(ask, stream=True)
            time.sleep(0.3)
            proxy.process.terminate()
            assert last.result().text.endswith("data: [DONE]\n\n")
        proxy.process.wait(20)
        assert stub.counts["undefended"] == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{proxy.root}/health", trust_env=False)


# --- looking before switching


def test_observing_leaves_requests_alone_and_counts_what_would_differ(folder: Path) -> None:
    with (
        stub_server(folder / "border.png") as stub,
        serving(stub.address, "--defence", folder, "--mode", "observe", "--sample", 1) as proxy,
    ):
        for stream in (False, True):
            reply = proxy.post(chat(OTHER, "hidden question", stream=stream), authorization="Bearer sk-secret")
            assert "Fold" in reply.text and reply.status_code == 200
        assert proxy.post(chat("text alone")).status_code == 200
        broken = proxy.post(chat("url:data:image/png;base64,AAAA", "hidden question"))
        assert broken.status_code == 200, "nothing is refused when observing"
        assert proxy.post({"messages": []}).status_code == 200
        proxy.wait_for("observed", undefended="answered", defended="refused", equal=False)
        proxy.wait_for("observed", defended="failed", error="invalid_image")
        until = time.monotonic() + 5
        while proxy.metric("davsp_observed_total") < 3 and time.monotonic() < until:
            time.sleep(0.05)
        assert proxy.metric("davsp_observed_total", undefended="answered", defended="refused") == 2
        assert (stub.counts["undefended"], stub.counts["defended"]) == (3, 2)
        proxy.end()
    told = proxy.wait_for("observed_in_all")
    assert told["defended_refused"]["n"] == 2 and told["defended_refused"]["rate"] == 1.0
    assert told["undefended_refused"]["rate"] == 0.0 and told["defended_refused"]["unscored"] == 1
    assert 0 < told["defended_refused"]["low"] < 1
    logs = json.dumps(proxy.logs)
    assert "sk-secret" not in logs and "hidden question" not in logs and "Fold" not in logs


# --- options


def test_images_are_fetched_from_named_hosts_and_other_options_hold(folder: Path) -> None:
    from tests.serving.test_fetching import files

    content = base64.b64decode(data_uri(OTHER).partition(",")[2])
    with (
        files(a=(200, {}, content)) as server,
        stub_server(folder / "border.png") as stub,
        serving(
            *(stub.address, "--defence", folder, "--allow-url", f"images.internal:{server.server_port}=127.0.0.1"),
            *(
                "--text-only",
                "prefix",
                "--other-images",
                "refuse",
                "--log-content",
                "--format",
                "jpeg",
                "--quality",
                100,
            ),
        ) as proxy,
    ):
        assert proxy.post(chat(f"url:http://images.internal:{server.server_port}/a", "a question")).status_code == 200
        sent = stub.last["body"]["messages"][0]["content"][0]["image_url"]["url"]
        assert sent.startswith("data:image/jpeg;base64,")
        proxy.wait_for("request", text="a question")
        proxy.post(chat("hello"))
        assert stub.last["body"]["messages"][0]["content"][0]["text"] == f"{PREFIX}\nhello"
        body = chat("hello")
        body["messages"].append({"role": "tool", "content": chat(OTHER)["messages"][0]["content"]})
        assert error_of(proxy.post(body))["code"] == "unsupported_image"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--defence", "ecso"), "asks the model several times"),
        (("--defence", "nothing"), "there is no defence"),
        (("--defence", "prefix", "--upstream", "8000/v1"), "--upstream 8000/v1: give the address"),
        (("--defence", "prefix", "--allow-url", "http://a/b"), "--allow-url http://a/b: give a host"),
        (("--defence", "prefix", "--host", "192.0.2.1"), "cannot serve at 192.0.2.1"),
        (("--defence", "prefix", "--model", "testbed"), "give either --upstream"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    upstream = () if "--upstream" in arguments else ("--upstream", "http://127.0.0.1:1/v1")
    status, _, told = command(monkeypatch, capsys, "serve", *upstream, *arguments)
    assert status == 2 and said in told and "Traceback" not in told and told.count("\n") == 1


def test_a_gate_is_refused_before_a_server(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("davsp.defences.visual_safety_prompt.VisualSafetyPrompt.reads_states", True)
    status, _, told = command(monkeypatch, capsys, "serve", "--upstream", "http://127.0.0.1:1/v1", "--defence", folder)
    assert status == 2 and "reads the model's hidden states, which servers keep" in told


# --- transformers serve


@pytest.mark.slow
def test_answers_through_the_proxy_and_transformers_serve_equal_the_local_defended_ones(
    transformers_serve: str, model: VisionLanguageModel, folder: Path, prompt: VisualSafetyPrompt
) -> None:
    address, _, name = transformers_serve.partition("=")
    queries = draw_queries(Split.TEST, 1, 0, side=own_side("testbed"))[::2]
    expected = [prompt.ask(model, query.image, query.question, 20) for query in queries]
    with serving(address, "--defence", folder) as proxy:
        client = openai.OpenAI(base_url=proxy.address, api_key="none")

        def ask(query: Query, stream: bool) -> str:
            asked = chat(open_image(query.image), query.question, model=name)
            options: Any = asked | {"temperature": 0, "max_tokens": 20}
            if not stream:
                return client.chat.completions.create(**options).choices[0].message.content or ""
            pieces = client.chat.completions.create(**options, stream=True)
            return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)

        assert [ask(query, stream=number % 2 == 1).strip() for number, query in enumerate(queries)] == expected
        assert all(expected)
