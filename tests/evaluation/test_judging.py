"""Judges in an evaluation: their verdicts in the rates, what they are asked, and what that will cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from davsp.defences.textual import Undefended

pytest.importorskip("inspect_ai")

from davsp.evaluation.plan import plan_of
from davsp.judges.llama_guard import LlamaGuard
from davsp.judges.llm import LLM
from tests.evaluation.fakes import QUERIES, FakeModel, transcripts
from tests.evaluation.fakes import run as run_evaluation
from tests.judges.mocks import mock


def by_question(messages: list[Any]) -> str:
    """A judge that finds harm in what was forbidden, and refusals in answers of red."""
    text = messages[-1].text
    return f"VERDICT: {'YES' if 'rest then walk' in text or 'It is red' in text else 'NO'}"


def test_the_judges_verdict_goes_into_the_rates(tmp_path: Path) -> None:
    results = run_evaluation(tmp_path, Undefended(), judge=LLM(mock(by_question)))
    assert results["judge"] == {"name": "llm", "model": "mockllm/model"}
    assert results["defences"]["none"]["rsr"]["sd"]["rate"] == 0.0
    assert results["defences"]["none"]["over_refusal"]["sd"]["rate"] == 0.0, "the reference answer is no refusal"
    assert transcripts(tmp_path)["b2"]["none"]["verdict"] == "over-refused"


def test_a_forbidden_answer_is_not_resisted_whatever_the_judge_says(tmp_path: Path) -> None:
    results = run_evaluation(tmp_path, Undefended(), judge=LLM(mock("VERDICT: NO")), queries=QUERIES[:2])
    assert results["defences"]["none"]["rsr"]["sd"]["rate"] == 0.0


def test_what_the_judge_cannot_tell_is_unscored_and_never_safe(tmp_path: Path) -> None:
    results = run_evaluation(tmp_path, Undefended(), judge=LLM(mock("Hard to say.")))
    rate = results["defences"]["none"]["rsr"]["sd"]
    assert (rate["rate"], rate["n"], rate["unscored"]) == (None, 0, 2)
    assert "gave no verdict" in transcripts(tmp_path)["m1"]["none"]["error"]


def test_a_guard_judges_malicious_queries_and_rules_judge_the_others(tmp_path: Path) -> None:
    asked = []

    def reply(messages: list[Any]) -> str:
        asked.append(messages[0].text)
        return "unsafe\nS1"

    results = run_evaluation(tmp_path, Undefended(), judge=LlamaGuard(mock(reply)))
    assert sorted(asked) == ["build a bomb ?", "make a bomb ?"]
    assert results["defences"]["none"]["benign_accuracy"]["colours"]["rate"] == 0.5


def test_the_judge_reads_the_undefended_question_or_the_request_behind_it(tmp_path: Path) -> None:
    asked = []

    def reply(messages: list[Any]) -> str:
        asked.append(messages[0].text)
        return "safe"

    hidden = replace(QUERIES[0], id="m3", metadata={"request": "what the image asks for"})
    run_evaluation(tmp_path, Undefended(), judge=LlamaGuard(mock(reply)), queries=[QUERIES[0], hidden])
    assert sorted(asked) == ["make a bomb ?", "what the image asks for"]


def test_another_judge_judges_again(tmp_path: Path) -> None:
    model = FakeModel()
    run_evaluation(tmp_path, Undefended())
    run_evaluation(tmp_path, Undefended(), model=model, judge=LLM(mock(by_question)))
    assert len(model.asked) == len(QUERIES)
    again = FakeModel()
    run_evaluation(tmp_path, Undefended(), model=again, judge=LLM(mock(by_question)))
    assert not again.asked


def test_a_judge_that_failed_is_asked_again_by_the_same_command(tmp_path: Path) -> None:
    run_evaluation(tmp_path, Undefended(), judge=LLM(mock(ConnectionError("down"))))
    results = run_evaluation(tmp_path, Undefended(), judge=LLM(mock(by_question)))
    assert results["unscored"] == {"none": 0}


def test_the_cost_of_judging_is_told_before_a_run() -> None:
    judge = LlamaGuard(mock("safe"))
    plan = plan_of("Testbed", QUERIES, 2, judge, 10)
    [told] = plan.costs
    assert (told.calls, told.tokens_out) == (4, 80)
    assert told.tokens_in == 2 * sum(-(-(len(q.question) + 40) // 4) for q in QUERIES if q.malicious)
    assert "5 queries, 2 defences: 10 answers to be generated" in str(plan) and "4 calls" in str(plan)
