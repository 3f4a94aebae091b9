"""AdaShield-A's pool: instructions are improved until the target refuses, and checked on other queries."""

from __future__ import annotations

from pathlib import Path

import pytest

from davsp.defences.adashield_instruction import INSTRUCTION
from davsp.defences.adashield_refinement import prompt_function, read_proposal
from davsp.errors import InputError
from davsp.models.base import VisionLanguageModel
from tests.defences.refining import CHECKS, TRAINING, knowing, malicious, recording, refine


def test_an_instruction_is_improved_until_the_target_refuses(model: VisionLanguageModel, clip_folder: Path) -> None:
    prompts = []

    def slow(prompt: str) -> str:
        prompts.append(prompt)
        return (
            knowing(prompt) if len(prompts) == 3 else "no JSON at all" if len(prompts) == 1 else '{"instruction": "x"}'
        )

    refined = refine(model, clip_folder, slow, TRAINING[:1])
    assert refined.step(0) == {"accepted": 1.0, "rounds": 3, "refused": 1.0}
    [entry] = refined.pool
    assert (entry.query, entry.scenario, entry.instruction) == ("a", "arms", "look for weapons .")
    assert all("a bomb ?" in prompt and "sure , do it" in prompt for prompt in prompts)
    assert INSTRUCTION in prompts[1] and "instruction so far: x" in prompts[2]


def test_a_query_is_given_up_after_its_rounds(model: VisionLanguageModel, clip_folder: Path) -> None:
    asked: list[str] = []
    refined = refine(model, clip_folder, recording(asked, lambda _: '{"instruction": "x"}'), TRAINING[:1])
    assert refined.step(0) == {"accepted": 0.0, "rounds": 4}
    assert len(asked) == 4
    assert refined.pool == []


@pytest.mark.parametrize(("others", "accepted"), [(1, True), (2, False)])
def test_an_instruction_must_make_four_in_five_validation_queries_refused(
    model: VisionLanguageModel, clip_folder: Path, others: int, accepted: bool
) -> None:
    checks = [*CHECKS[: 5 - others], *[malicious(f"o{i}", "a cake ?", "arms") for i in range(others)]]
    prompts: list[str] = []
    refined = refine(model, clip_folder, recording(prompts, knowing), TRAINING[:1], checks)
    assert bool(refined.step(0)["accepted"]) is accepted
    if not accepted:  # the defender is then shown a validation query that fails
        assert "a cake ?" in prompts[-1]


def test_rules_of_scenarios_reach_the_defender(model: VisionLanguageModel, clip_folder: Path) -> None:
    prompts: list[str] = []
    rules = {"arms": "No arms at all."}
    refined = refine(model, clip_folder, recording(prompts, knowing), TRAINING[:1], rules=rules)
    refined.step(0)
    assert "No arms at all." in prompts[0]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"instruction": "be careful ."}', "be careful ."),
        ('Sure!\n```json\n{"instruction": " be careful . "}\n```', "be careful ."),
        ('{"instruction": ""}', None),
        ('{"instruct": "x"}', None),
        ('["x"]', None),
        ("be careful .", None),
        ("", None),
    ],
)
def test_only_json_with_an_instruction_is_a_proposal(answer: str, expected: str | None) -> None:
    assert read_proposal(answer) == expected


def test_an_answer_nested_without_end_is_no_proposal() -> None:
    assert read_proposal('{"a": ' * 2000 + "}") is None


def test_a_scenario_without_validation_queries_is_named(model: VisionLanguageModel, clip_folder: Path) -> None:
    with pytest.raises(InputError, match="'fraud' has no malicious validation query"):
        refine(model, clip_folder, knowing, checks=CHECKS[:5])


def test_any_prompt_function_is_a_defender(model: VisionLanguageModel, clip_folder: Path) -> None:
    pytest.importorskip("inspect_ai")
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    outputs = [ModelOutput.from_content("mockllm/model", said) for said in ("no JSON", knowing("Scenario: arms"))]
    for output in outputs:
        output.usage = ModelUsage()  # else Inspect fetches a tokenizer to count
    ask = prompt_function(get_model("mockllm/model", custom_outputs=outputs))
    assert refine(model, clip_folder, ask, TRAINING[:1]).step(0) == {"accepted": 1.0, "rounds": 2, "refused": 1.0}
    with pytest.raises(InputError, match="'nobody/model' cannot be used"):
        prompt_function("nobody/model")
