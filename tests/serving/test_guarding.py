"""An image guard before the defence: what it does not find safe goes nowhere."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn", "prometheus_client", "openai")):
    pytest.skip("the proxy's packages are not installed: pip install 'davsp[dev]'", allow_module_level=True)

from tests.command_line import run as command
from tests.defences.guards import BLUE, QUESTION, RED, save_guard
from tests.serving.processes import chat, error_of, serving, stub_server


def test_what_a_guard_finds_unsafe_is_refused_and_the_rest_goes_on_behind_the_defence(
    folder: Path, tmp_path: Path
) -> None:
    unsafe, guard = RED.resize((64, 48)), save_guard("mllama", tmp_path / "guard", ("unsafe\nS2", "safe"))
    with (
        stub_server(folder / "border.png") as stub,
        serving(stub.address, "--defence", folder, "--guard", guard) as proxy,
    ):
        assert proxy.post(chat(BLUE, QUESTION)).status_code == 200
        assert proxy.post(chat("text alone")).status_code == 200
        for stream in (False, True):
            reply = proxy.post(chat(BLUE, unsafe, QUESTION, stream=stream))
            told = error_of(reply)
            assert (reply.status_code, told["code"]) == (400, "content_filter")
            assert told["param"] == "messages[0].content[1].image_url"
        assert proxy.metric("davsp_refused_total", code="content_filter") == 2
        assert (stub.counts["defended"], stub.counts["undefended"], stub.counts["text"]) == (1, 0, 1)


def test_a_guard_without_a_decision_lets_nothing_through(folder: Path, tmp_path: Path) -> None:
    guard = save_guard("mllama", tmp_path / "guard", steps=0)
    with (
        stub_server(folder / "border.png") as stub,
        serving(stub.address, "--defence", folder, "--guard", guard) as proxy,
    ):
        reply = proxy.post(chat(BLUE, QUESTION))
        assert (reply.status_code, error_of(reply)["code"]) == (500, "guard_failed")
        assert stub.counts["defended"] == stub.counts["undefended"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--guard", "nowhere", "--workers", 2), "use one worker"),
        (("--guard", "nowhere", "--other-images", "pass"), "leave out --other-images pass"),
        (("--guard", "nowhere"), "cannot load the guard 'nowhere'"),
    ],
)
def test_a_guard_that_cannot_look_at_all_images_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[object, ...], said: str
) -> None:
    to = ("--upstream", "http://127.0.0.1:1/v1", "--defence", "prefix")
    status, _, told = command(monkeypatch, capsys, "serve", *to, *arguments)
    assert status == 2 and said in told and "Traceback" not in told
