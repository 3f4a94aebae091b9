"""McNemar's test with Holm's correction, on defences of one evaluation and of several."""

import math
from pathlib import Path

import pytest

from davsp.report.collect import collect, with_answers
from davsp.report.significance import Comparison, families, holm, mcnemar
from tests.evaluations import (
    FOUR,
    OVER_REFUSAL,
    SAFETY,
    USEFULNESS,
    N,
    R,
    U,
    benchmark,
    verdicts,
    write_evaluation,
)


def compared(*folders: Path) -> list[Comparison]:
    evaluations = [with_answers(evaluation) for evaluation in collect(folders)]
    return [c for family in families(evaluations) for c in family.comparisons]


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 5), (5, 0), (3, 9), (7, 7), (40, 12)])
def test_mcnemar_is_the_exact_binomial_test(b: int, c: int) -> None:
    outcomes = [math.comb(b + c, k) / 2 ** (b + c) for k in range(b + c + 1)]
    as_unlikely = sum(p for p in outcomes if p <= outcomes[b] * (1 + 1e-9))
    assert mcnemar(b, c) == pytest.approx(min(1.0, as_unlikely))


def test_mcnemar_of_many_pairs_neither_overflows_nor_vanishes() -> None:
    assert mcnemar(14_000, 14_000) == 1.0
    assert 0 < mcnemar(13_600, 14_400) < 1e-5


def test_holm_multiplies_the_smallest_by_all_and_never_falls() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_discordant_pairs_are_counted_and_unscored_ones_left_out(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", FOUR, {"none": [R, N, N, U], "davsp": [R, R, R, R]})
    [found] = compared(tmp_path)
    assert (found.measure, found.first, found.second) == ("rsr", "none", "davsp")
    assert (found.only_first, found.only_second, found.n, found.left_out) == (0, 2, 3, 1)
    assert found.difference == pytest.approx(-2 / 3)
    assert found.p == found.corrected == 0.5


def test_every_measure_is_compared_and_corrected_by_itself(tmp_path: Path) -> None:
    groups = [*SAFETY, *USEFULNESS, *OVER_REFUSAL]
    behind = {name: verdicts(groups, good, 1) for name, good in (("a", 0.2), ("b", 0.5), ("c", 0.9))}
    write_evaluation(tmp_path / "a", groups, behind)
    found = compared(tmp_path)
    assert [c.measure for c in found] == ["rsr"] * 3 + ["benign_accuracy"] * 3 + ["over_refusal"] * 3
    resisted = [c for c in found if c.measure == "rsr"]
    assert [c.corrected for c in resisted] == holm([c.p for c in resisted])
    assert all(c.only_first > c.only_second for c in found if c.measure == "over_refusal")


def test_a_reference_that_is_no_right_answer_is_not_compared(tmp_path: Path) -> None:
    given = verdicts(OVER_REFUSAL, 0.5, 0)
    folder = write_evaluation(tmp_path / "a", OVER_REFUSAL, {"none": given, "x": given})
    text = (folder / "transcripts.jsonl").read_text()
    (folder / "transcripts.jsonl").write_text(text.replace('"reference": null', '"reference": "a text"'))
    assert {c.measure for c in compared(tmp_path)} == {"over_refusal"}


def test_defences_of_two_folders_are_compared_on_the_queries_that_both_have(tmp_path: Path) -> None:
    facts = benchmark("figstep", "full")
    write_evaluation(tmp_path / "a", FOUR, {"none": [N, N, N, N]}, benchmark=facts)
    write_evaluation(tmp_path / "b", FOUR, {"davsp": [R, R, R, R]}, benchmark=facts, first=2)
    [found] = compared(tmp_path)
    assert (found.first, found.second, found.only_second, found.n) == ("none", "davsp", 2, 2)


def test_queries_of_an_attack_are_never_compared_with_those_that_it_began_from(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", FOUR, {"none": [N, N, N, N]})
    write_evaluation(tmp_path / "b", FOUR, {"davsp": [R, R, R, R]}, attack={"name": "pgd", "queries": 4})
    assert compared(tmp_path) == []


def test_equal_ids_of_other_questions_are_never_compared(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", FOUR, {"none": [N, N, N, N]})
    other = write_evaluation(tmp_path / "b", FOUR, {"davsp": [R, R, R, R]})
    lines = (other / "transcripts.jsonl").read_text().replace("question 1", "another 1")
    (other / "transcripts.jsonl").write_text(lines)
    assert compared(tmp_path) == []


def test_other_models_and_other_judges_are_never_compared(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", FOUR, {"none": [N, N, N, N]})
    write_evaluation(tmp_path / "b", FOUR, {"davsp": [R, R, R, R]}, model="another")
    write_evaluation(tmp_path / "c", FOUR, {"davsp": [R, R, R, R]}, judge=("llm", "openai/x"))
    assert compared(tmp_path) == []
