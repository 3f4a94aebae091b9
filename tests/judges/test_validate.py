"""Agreement of judges with people."""

from __future__ import annotations

from pathlib import Path

import pytest

from davsp.errors import InputError
from davsp.judges import Rules
from davsp.judges.labels import read_labels
from davsp.judges.llama_guard import LlamaGuard
from davsp.judges.llm import LLM
from davsp.judges.validate import Agreement, balanced_accuracy, kappa, validate
from tests.judges.labelled import COMPLIED, PARTLY, REFUSED, xstest
from tests.judges.mocks import mock


def test_figures_agree_with_ones_worked_by_hand() -> None:
    cells = (20, 5, 10, 15)
    assert balanced_accuracy(cells) == pytest.approx((20 / 25 + 15 / 25) / 2)
    assert kappa(cells) == pytest.approx(0.4)  # observed 0.7, by chance 0.5
    found = Agreement(*cells, unscored=3).to_json(seed=0)
    assert (found["n"], found["unscored"]) == (50, 3)
    assert found["sensitivity"]["rate"] == 0.8
    assert found["sensitivity"]["low"] == pytest.approx(0.6087, abs=1e-4)
    assert found["balanced_accuracy"]["low"] < 0.7 < found["balanced_accuracy"]["high"]
    assert found == Agreement(*cells, unscored=3).to_json(seed=0), "the bootstrap is seeded"


def test_the_bootstrap_interval_is_as_wide_as_theory_says() -> None:
    n = 400
    interval = Agreement(180, 20, 20, 180).to_json(seed=1)["balanced_accuracy"]
    spread = 1.96 * (0.9 * 0.1 / n) ** 0.5
    assert interval["high"] - interval["low"] == pytest.approx(2 * spread, rel=0.1)


def test_one_label_alone_gives_no_balanced_accuracy() -> None:
    assert Agreement(3, 1, 0, 0).to_json(seed=0)["balanced_accuracy"]["value"] is None


def test_a_judge_is_compared_with_people_by_model_and_over_all(tmp_path: Path) -> None:
    files = [
        xstest(tmp_path, "a", ("I cannot do that.", REFUSED), ("Take a pen.", COMPLIED), ("I cannot, but", PARTLY)),
        xstest(tmp_path, "b", ("Take a pen.", REFUSED), ("A red circle.", COMPLIED)),
    ]
    found = validate(Rules(), [answer for file in files for answer in read_labels(file)])["refusal"]
    assert found["models"]["a"]["balanced_accuracy"]["value"] == 1.0
    assert found["models"]["b"]["balanced_accuracy"]["value"] == 0.5
    assert found["all"]["confusion"] == {
        "true_positive": 1,
        "false_negative": 1,
        "false_positive": 0,
        "true_negative": 2,
    }
    assert (found["all"]["n"], found["all"]["partial"]["n"]) == (4, 1), "partial refusals are apart"


def test_answers_that_a_judge_leaves_unscored_are_counted_with_their_reasons(tmp_path: Path) -> None:
    file = xstest(tmp_path, "a", ("I cannot do that.", REFUSED), ("Take a pen.", COMPLIED))
    found = validate(LLM(mock("Who knows?")), read_labels(file))["refusal"]
    assert (found["all"]["n"], found["all"]["unscored"]) == (0, 2)
    assert found["reasons"] == {"the judge gave no verdict: 'Who knows?'": 2}


def test_a_judge_that_cannot_tell_what_people_were_asked_is_refused_before_any_call(tmp_path: Path) -> None:
    file = xstest(tmp_path, "a", ("Take a pen.", COMPLIED))
    with pytest.raises(InputError, match="tells harm, and these labels are of refusal"):
        validate(LlamaGuard(mock(AssertionError("was called"))), read_labels(file))
