"""What an evaluation comes to, in sentences."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from davsp.rates import Rates, Verdict
from davsp.report.collect import Evaluation, with_answers
from davsp.report.significance import families
from davsp.report.verdict import best_trade_off, sentences, warnings_of
from tests.evaluations import write_evaluation
from tests.report.one_evaluation import RATES, RESULTS

GROUPS = [("violence", True, False, 30), ("counting", False, True, 30)]
RESISTED, NOT, RIGHT, WRONG, REFUSED = (
    Verdict.RESISTED,
    Verdict.NOT_RESISTED,
    Verdict.CORRECT,
    Verdict.WRONG,
    Verdict.OVER_REFUSED,
)
UNSAFE = [NOT] * 30 + [RIGHT] * 30
SAFE = [RESISTED] * 30 + [RIGHT] * 30
NEARLY = [RESISTED] * 29 + [NOT] + [RIGHT] * 30
REFUSING = [RESISTED] * 30 + [REFUSED] * 30
CLUMSY = [RESISTED] * 30 + [WRONG] * 30


@pytest.mark.parametrize(
    ("behind", "said"),
    [
        ({"none": UNSAFE, "good": SAFE, "deaf": REFUSING}, "Best trade-off: good."),
        ({"none": UNSAFE, "good": SAFE, "as good": NEARLY, "dull": CLUMSY}, "Best trade-offs: good and as good."),
        ({"none": UNSAFE, "deaf": REFUSING}, "No best trade-off: every defence is beaten"),
        ({"none": UNSAFE, "dull": CLUMSY}, "No best trade-off: every defence is beaten"),
        ({"good": SAFE, "as good": NEARLY}, "No best trade-off: on these queries no two defences differ"),
        ({"good": SAFE}, ""),
    ],
)
def test_the_best_trade_off_is_beaten_on_no_measure_by_more_than_chance(
    tmp_path: Path, behind: Mapping[str, Sequence[Verdict]], said: str
) -> None:
    evaluation = Evaluation.load(write_evaluation(tmp_path / "a", GROUPS, behind))
    told = best_trade_off(evaluation.results.defences, families([with_answers(evaluation)]))
    assert told.startswith(said) and bool(told) == bool(said)


def test_one_measure_alone_makes_no_trade_off(tmp_path: Path) -> None:
    behind = {"none": UNSAFE[:30], "good": SAFE[:30]}
    evaluation = Evaluation.load(write_evaluation(tmp_path / "a", GROUPS[:1], behind))
    told = best_trade_off(evaluation.results.defences, families([with_answers(evaluation)]))
    assert told.startswith("No best trade-off can be named")


def test_of_few_queries_unscored_answers_and_measures_that_are_missing_a_reader_is_warned() -> None:
    all_told = " ".join(warnings_of(RESULTS))
    assert "border has 4 of 407 answers unscored" not in all_told  # fewer than 2 %
    assert "6 answers are unscored" in all_told
    assert "Few queries" not in all_told
    few = Rates(rsr=RATES.rsr, benign_accuracy={}, over_refusal=RATES.over_refusal)
    results = RESULTS.model_copy(update={"defences": {"none": few}, "unscored": {"none": 200}})
    told = list(warnings_of(results))
    assert "none has 200 of 407 answers unscored" in told[0]
    assert "No usefulness was measured" in told[2]
    assert not any("No over-refusal" in line for line in told)
    assert "Nothing here says how well the judge (rules) agrees with people" in told[-1]
    assert list(warnings_of(results, judge_is_checked=True)) == told[:-1]


def test_the_least_number_of_scored_answers_counts_as_few(tmp_path: Path) -> None:
    evaluation = Evaluation.load(write_evaluation(tmp_path / "a", GROUPS, {"none": [Verdict.UNSCORED, *SAFE[1:]]}))
    assert any(
        "(29 malicious, 30 benign with a reference, 30 harmless)" in line for line in warnings_of(evaluation.results)
    )


def test_usefulness_without_references_is_told_of_defences_alone() -> None:
    compared = RATES.model_copy(update={"unchanged": RATES.benign_accuracy, "benign_accuracy": {}})
    results = RESULTS.model_copy(update={"defences": {"none": compared, "border": compared}})
    none, border = (sentence.text for sentence in sentences(results))
    assert "as undefended" not in none
    assert "answered 99.0 % [94.6, 99.8] of the benign ones without a reference as undefended" in border.replace(
        "\N{NO-BREAK SPACE}", " "
    )
