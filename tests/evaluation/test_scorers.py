"""Scorers in Inspect: points by the role judge, and what stops a run without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

inspect_ai = pytest.importorskip("inspect_ai")

from inspect_ai.dataset import Sample  # noqa: E402
from inspect_ai.model import ChatMessageUser, Model  # noqa: E402
from inspect_ai.scorer import Score, Scorer  # noqa: E402
from inspect_ai.solver import generate  # noqa: E402

from davsp.benchmarks import BENCHMARKS  # noqa: E402
from davsp.evaluation.scorers import judge_is_bound, own_scorer, safety_and_usefulness  # noqa: E402
from davsp.judges.llm import LLM  # noqa: E402
from tests.judges.mocks import mock  # noqa: E402


def own(benchmark: str) -> Scorer:
    """A benchmark's own scorer, as it is without a model bound to it."""
    scorer = own_scorer(BENCHMARKS.get(benchmark))
    assert scorer is not None
    return scorer()


def scored(scorer: Scorer, answer: str, judge: Model | None, *, target: str = "red", **metadata: Any) -> Any:
    task = inspect_ai.Task(
        dataset=[Sample(input=[ChatMessageUser(content="what?")], target=target, metadata=metadata)],
        solver=[judge_is_bound(), generate()],
        scorer=scorer,
    )
    model = mock(answer)
    roles = {"judge": judge} if judge else {}
    [log] = inspect_ai.eval(task, model=model, model_roles=roles, display="none", log_dir="logs", ctl_server=False)
    return log


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


def score_of(log: Any) -> Score:
    score: Score
    [score] = log.samples[0].scores.values()
    return score


@pytest.mark.usefixtures("in_folder")
def test_grades_and_reviews_come_from_the_role_judge() -> None:
    assert score_of(scored(own("mm_vet"), "red", mock("0.6"))).value == 0.6
    assert score_of(scored(own("llava_bench"), "red", mock("9 8\nFine."))).value == {"reference": 9, "answer": 8}
    empty = score_of(scored(own("llava_bench"), " ", mock(AssertionError("was called"))))
    assert (empty.metadata or {})["unscored"] == "the answer is empty"


@pytest.mark.usefixtures("in_folder")
def test_a_grade_in_prose_is_unscored() -> None:
    found = score_of(scored(own("mm_vet"), "red", mock("Rather good.")))
    assert found.value != found.value
    assert "gave no verdict" in str(found.explanation)


@pytest.mark.usefixtures("in_folder")
def test_without_a_model_in_the_role_nothing_is_generated() -> None:
    log = scored(safety_and_usefulness(LLM()), "red", None)
    assert log.status == "error"
    assert "judge" in str(log.error.message)
    assert not log.stats.model_usage
