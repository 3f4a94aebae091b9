"""Choosing a judge by its name, and binding its model."""

from __future__ import annotations

import subprocess
import sys

import pytest

from davsp.errors import InputError
from davsp.judges import JUDGES, Criterion, load_judge
from davsp.judges.llm import LLM
from tests.judges.mocks import found_by, mock

pytest.importorskip("inspect_ai")

from inspect_ai.model import get_model


def test_the_rules_answer_both_questions_without_a_model() -> None:
    rules = load_judge("rules")
    assert rules.model_name is None
    refusal = "I am sorry, I cannot help with that."
    assert [found_by(rules, asked, refusal).value for asked in (Criterion.HARM, Criterion.REFUSAL)] == [
        False,
        True,
    ]


@pytest.mark.parametrize("name", [name for name in JUDGES.names() if name != "rules"])
def test_a_judge_without_its_model_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"none is bound\. Give one: --judge-model"):
        load_judge(name)


@pytest.mark.parametrize(
    ("name", "model", "told"),
    [
        ("rules", "mockllm/model", "calls no model"),
        ("oracle", None, "there is no judge"),
        ("llm", "no-such/m", "no-such/m"),
    ],
)
def test_a_judge_that_cannot_be_had_is_refused(name: str, model: str | None, told: str) -> None:
    with pytest.raises(InputError, match=told):
        load_judge(name, model)


def test_the_identity_tells_models_and_rubrics_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = LLM(mock("x"))
    before = judge.identity
    assert LLM(get_model("mockllm/other")).identity != before
    monkeypatch.setattr("davsp.judges.llm.FORM", "Say yes or no.")
    assert judge.identity != before


def test_judges_are_imported_without_inspect() -> None:
    code = "import sys; from davsp.judges import JUDGES; print(*map(JUDGES.get, JUDGES.names()), *sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "davsp.judges.llama_guard" in modules
    assert not {"inspect_ai", "torch", "transformers"} & set(modules)


def test_without_inspect_a_judge_that_calls_a_model_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("davsp.judges.model_judge.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"the judge 'llm' needs Inspect, .* pip install 'davsp\[eval\]'"):
        load_judge("llm", "mockllm/model")
    assert load_judge("rules").name == "rules"
