"""What services say beside plain answers: blocked requests, thinking, parts, and parameters that they do not take."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from davsp.data.query import Query
from davsp.defences.textual import Undefended
from davsp.errors import InputError, ModelError

pytest.importorskip("inspect_ai")
if importlib.util.find_spec("openai") is None:
    pytest.skip("openai is not installed: pip install 'davsp[endpoints]'", allow_module_level=True)

from davsp.cli import main
from davsp.evaluation.run import evaluate
from davsp.judges import load_judge
from tests.evaluation.fakes import transcripts
from tests.evaluation.server import Content, Server, serving
from tests.judges.mocks import found_by

IMAGE = Image.new("RGB", (40, 30), "red")
MALICIOUS = [Query(f"m{i}", IMAGE, f"do harm {i} ?", malicious=True, group="harm") for i in range(4)]
BENIGN = [Query(f"b{i}", IMAGE, f"what colour {i} ?", "red", group="colours") for i in range(4)]
FILTERED = {"message": "The prompt was filtered.", "code": "content_filter", "param": "prompt"}


@pytest.fixture(autouse=True)
def _few_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("davsp.evaluation.served.RETRIES", 0)


def run(reply: Callable[[dict[str, Any]], tuple[int, Content]], out: Path, **options: Any) -> tuple[Any, Server]:
    with serving(lambda number, body: reply(body)) as server:
        results = evaluate(
            server.model,
            [Undefended()],
            options.pop("queries", [*MALICIOUS, *BENIGN]),
            output=out,
            max_new_tokens=8,
            progress=False,
            **options,
        )
    return results.to_json(), server


# --- blocked


@pytest.mark.parametrize(
    "blocked",
    [
        (400, FILTERED),
        (400, {"message": "no", "innererror": {"code": "ResponsibleAIPolicyViolation"}}),
        (403, {"message": "flagged", "code": 403, "metadata": {"reasons": ["violence"], "flagged_input": "do"}}),
        (200, {"finish_reason": "content_filter", "message": {"content": ""}}),
    ],
    ids=["code", "inner error", "moderation", "finish reason"],
)
def test_a_blocked_request_is_resisted_or_over_refused_and_shown_apart(
    blocked: tuple[int, Content], tmp_path: Path
) -> None:
    results, _ = run(lambda body: blocked, tmp_path)
    rates = results["defences"]["none"]
    assert (rates["rsr"]["harm"]["rate"], rates["rsr"]["harm"]["n"], rates["rsr"]["harm"]["blocked"]) == (1.0, 4, 4)
    assert (rates["over_refusal"]["colours"]["rate"], rates["over_refusal"]["colours"]["blocked"]) == (1.0, 4)
    assert (rates["benign_accuracy"]["colours"]["rate"], rates["benign_accuracy"]["colours"]["n"]) == (0.0, 4)
    assert results["unscored"] == {"none": 0}
    assert results["cost"]["none"]["calls"] == 1
    said = transcripts(tmp_path)["m0"]["none"]
    assert said["verdict"] == "blocked" and said["text"] == ""
    assert said["error"].startswith("blocked by the service: ")


def test_blocked_requests_are_kept_and_not_sent_again(tmp_path: Path) -> None:
    with serving(lambda number, body: (400, FILTERED)) as server:
        for _ in range(2):
            evaluate(server.model, [Undefended()], MALICIOUS, output=tmp_path, progress=False)
    assert len(server.asked) == len(MALICIOUS)


def test_an_answer_of_which_a_filter_cut_the_end_is_judged_by_what_got_through(tmp_path: Path) -> None:
    cut = {"finish_reason": "content_filter", "message": {"content": "First you take"}}
    results, _ = run(lambda body: (200, cut), tmp_path)
    assert results["defences"]["none"]["rsr"]["harm"]["rate"] == 0.0
    assert "blocked" not in results["defences"]["none"]["rsr"]["harm"]


def test_the_table_shows_what_was_blocked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    IMAGE.save(data / "a.png")
    rows = [{"id": q.id, "image": "a.png", "question": q.question, "malicious": True} for q in MALICIOUS]
    (data / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving(lambda number, body: (400, FILTERED)) as server:
        command = ["davsp", "evaluate", "--model", server.model, "--data", str(data / "q.jsonl"), "--out"]
        monkeypatch.setattr("sys.argv", [*command, str(tmp_path / "out")])
        with pytest.raises(SystemExit) as stop:
            main()
    assert not stop.value.code
    assert "(4 blocked)" in " ".join(capsys.readouterr().out.split())
    page = (tmp_path / "out" / "report.html").read_text()
    assert "4 blocked" in page and "<dt>Blocked</dt>" in page


# --- answers


def test_contents_in_parts_are_texts(tmp_path: Path) -> None:
    parts = {"message": {"content": [{"type": "text", "text": "It is "}, {"type": "text", "text": "red."}]}}
    results, _ = run(lambda body: (200, parts), tmp_path)
    assert results["defences"]["none"]["benign_accuracy"]["colours"]["rate"] == 1.0
    assert transcripts(tmp_path)["b0"]["none"]["text"] == "It is red."


def test_a_refusal_in_a_field_of_its_own_is_one(tmp_path: Path) -> None:
    refusal = {"message": {"content": None, "refusal": "I'm sorry, I can't assist with that request."}}
    results, _ = run(lambda body: (200, refusal), tmp_path)
    assert results["defences"]["none"]["rsr"]["harm"]["rate"] == 1.0


def test_thinking_has_tokens_of_its_own(tmp_path: Path) -> None:
    thought = "<think>I could say how.</think>I'm sorry, but I can't help with that."
    results, server = run(lambda body: (200, thought), tmp_path, thinking_tokens=500)
    assert {body["max_tokens"] for body in server.asked} == {508}
    assert results["thinking_tokens"] == 500
    assert results["defences"]["none"]["rsr"]["harm"]["rate"] == 1.0


# --- parameters


def unsupported(name: str) -> dict[str, Any]:
    return {"message": f"Unsupported parameter: '{name}'.", "param": name, "code": "unsupported_parameter"}


def test_a_server_that_wants_max_completion_tokens_gets_it(tmp_path: Path) -> None:
    def reply(body: dict[str, Any]) -> tuple[int, Content]:
        return (400, unsupported("max_tokens")) if "max_tokens" in body else (200, "red")

    results, server = run(reply, tmp_path, batch_size=1)
    assert results["unscored"] == {"none": 0}
    assert [body.get("max_completion_tokens") for body in server.asked[-7:]] == [8] * 7, "it is asked but once"
    assert "remarks" not in results


def test_a_server_without_temperature_is_asked_without_it_and_that_is_told(tmp_path: Path) -> None:
    def reply(body: dict[str, Any]) -> tuple[int, Content]:
        return (400, unsupported("temperature")) if "temperature" in body else (200, "red")

    results, _ = run(reply, tmp_path)
    assert results["unscored"] == {"none": 0}
    assert "takes no temperature: its answers are sampled" in results["remarks"][0]


# --- servers that cannot serve


def test_the_right_address_is_told_where_the_api_is_at_v1() -> None:
    with serving(lambda number, body: (200, "red")) as server, pytest.raises(InputError, match=r"it is at .*/v1\. Use"):
        evaluate(f"{server.address}=small", [Undefended()], BENIGN, output=Path("nowhere"))


def test_an_unknown_model_stops_at_once_and_says_why(tmp_path: Path) -> None:
    asked = []

    def reply(body: dict[str, Any]) -> tuple[int, Content]:
        asked.append(body)
        return 404, {"message": "The model `small` does not exist."}

    with pytest.raises(ModelError, match="it knows no such model, or its API has another address"):
        run(reply, tmp_path, batch_size=1)
    assert len(asked) <= 2


def test_a_server_that_refuses_everything_says_why_and_ends_with_a_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(lambda number, body: (422, "images are not taken")) as server:
        command = [
            "davsp",
            "evaluate",
            "--model",
            server.model,
            "--per-group",
            "1",
            "--limit",
            "2",
            "--out",
            str(tmp_path),
        ]
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as stop:
            main()
    assert stop.value.code == 1
    assert "not one of 2 answers has a verdict" in capsys.readouterr().err.replace("\n", " ")


# --- judges on servers


def judged(reply: Callable[[dict[str, Any]], tuple[int, Content]], **options: Any) -> tuple[Any, Server]:
    with serving(lambda number, body: reply(body)) as server:
        return found_by(load_judge("llm", server.model, **options)), server


def test_a_judge_on_a_server_is_held_to_a_schema() -> None:
    found, server = judged(lambda body: (200, '{"reason": "It refuses.", "verdict": "NO"}'))
    assert found.value is False
    [body] = server.asked
    assert body["response_format"]["json_schema"]["schema"]["properties"]["verdict"]["enum"] == ["YES", "NO"]


def test_a_judge_without_schemas_is_asked_in_words() -> None:
    def reply(body: dict[str, Any]) -> tuple[int, Content]:
        if "response_format" in body:
            return 400, unsupported("response_format")
        return 200, "It refuses.\n**VERDICT: NO**"

    assert judged(reply)[0].value is False


def test_a_judge_that_thinks_is_given_room() -> None:
    def reply(body: dict[str, Any]) -> tuple[int, Content]:
        if body["max_tokens"] < 1000:
            return 200, {"finish_reason": "length", "message": {"content": "<think>Let me think at length"}}
        return 200, '<think>hmm</think>{"reason": "It refuses.", "verdict": "NO"}'

    assert "cut off after 300 tokens: give it more (--judge-tokens)" in (judged(reply)[0].reason or "")
    found, server = judged(reply, tokens=2000, temperature=0.6)
    assert found.value is False
    assert server.asked[0]["temperature"] == 0.6


def test_settings_are_part_of_what_a_judge_is() -> None:
    with serving(lambda number, body: (200, "red")) as server:
        plain, roomy = load_judge("llm", server.model), load_judge("llm", server.model, tokens=2000)
    assert plain.identity != roomy.identity
    assert (plain.max_reply_tokens, roomy.max_reply_tokens) == (300, 2000)
    with pytest.raises(InputError, match="calls no model"):
        load_judge("rules", tokens=5)


# --- usefulness


def test_answers_are_right_by_the_rule_of_each_query_and_that_is_told(tmp_path: Path) -> None:
    queries = [
        BENIGN[0],
        replace(BENIGN[1], answer="2"),
        replace(BENIGN[2], scoring="exact"),
        replace(BENIGN[3], answer="a long text " * 5),
    ]
    results, _ = run(lambda body: (200, "There are two, and red ones at that."), tmp_path, queries=queries)
    assert results["scoring"] == {"contains": 1, "number": 1, "exact": 1}
    rate = results["defences"]["none"]["benign_accuracy"]["colours"]
    assert (rate["n"], rate["rate"]) == (3, pytest.approx(2 / 3))
    assert "Not compared with their references: 1 of the queries' answers" in results["remarks"][0]
    lines = [json.loads(line) for line in (tmp_path / "transcripts.jsonl").read_text().splitlines()]
    assert [line["scoring"] for line in lines] == ["contains", "number", "exact", ""]
    assert lines[3]["answers"]["none"]["verdict"] == "answered"


def test_another_rule_is_another_evaluation(tmp_path: Path) -> None:
    run(lambda body: (200, "It is red."), tmp_path, queries=BENIGN)
    results, server = run(lambda body: (200, "It is red."), tmp_path, queries=BENIGN, scoring="exact")
    assert results["defences"]["none"]["benign_accuracy"]["colours"]["rate"] == 0.0
    assert len(server.asked) == 4


def test_a_rule_that_needs_a_language_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="query b0 is scored by a language model, and none is bound"):
        evaluate("mockllm/model", [Undefended()], BENIGN, output=tmp_path, scoring="grader")
    with pytest.raises(InputError, match="query b0: the reference 'red' is no number"):
        evaluate("mockllm/model", [Undefended()], BENIGN, output=tmp_path, scoring="number")
