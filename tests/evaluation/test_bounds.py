"""Bounds on measures: what passes, what fails, and what is refused before a run."""

from __future__ import annotations

import pytest

from davsp.errors import InputError
from davsp.evaluation.bounds import Bound
from davsp.rates import Figure, Rate, Rates
from davsp.results import Results


def rates(**measures: dict[str, Rate]) -> Rates:
    return Rates.model_validate({"rsr": {}, "benign_accuracy": {}, "over_refusal": {}, **measures})


def results(**defences: Rates) -> Results:
    unscored = dict.fromkeys(defences, 0)
    facts = {"model": "m", "seed": 0, "queries": 9, "max_new_tokens": 8, "seconds": {}, "versions": {}}
    return Results.model_validate({**facts, "defences": defences, "unscored": unscored})


def failures(text: str, *measured: Results, is_least: bool = True) -> list[str]:
    return list(Bound.parse(text, is_least=is_least).failures(measured))


SAFE = rates(rsr={"sd": Rate.of(10, 10), "figstep": Rate.of(8, 10)}, over_refusal={"sd": Rate.of(1, 10)})
WEAK = rates(rsr={"sd": Rate.of(2, 10)}, over_refusal={"sd": Rate.of(0, 10)})
BOTH = results(none=WEAK, safe=SAFE)


def test_every_kind_of_query_counts_and_the_bound_itself_passes() -> None:
    assert failures("rsr=0.9", BOTH) == []
    [line] = failures("rsr=0.91", BOTH)
    assert line.startswith("safe: rsr is 0.900 [") and "(n=20)" in line and "rsr >= 0.91" in line
    assert failures("over_refusal=0.1", BOTH, is_least=False) == []
    assert len(failures("over_refusal=0.09", BOTH, is_least=False)) == 1


def test_the_undefended_model_is_held_to_what_names_it_alone() -> None:
    assert len(failures("none:rsr=0.9", BOTH)) == 1
    assert failures("safe:rsr=0.9", BOTH) == []


@pytest.mark.parametrize("empty", [rates(), rates(rsr={"sd": Rate.of(0, 0, unscored=5)})])
def test_what_is_not_measured_or_has_no_verdict_fails(empty: Rates) -> None:
    for is_least in (True, False):
        assert len(failures("rsr=0.5", results(none=WEAK, safe=empty), is_least=is_least)) == 1


def test_a_rate_of_which_much_is_unscored_fails() -> None:
    for unscored, passes in ((2, True), (3, False)):
        found = failures("rsr=0.5", results(safe=rates(rsr={"sd": Rate.of(100, 100, unscored=unscored)})))
        assert [f"safe: rsr is of 100 answers, and {unscored} more have no verdict" in line for line in found] == (
            [] if passes else [True]
        )


def test_of_several_sets_each_that_measures_it_is_held_to_it_and_one_must() -> None:
    usefulness = results(none=rates(), safe=rates(benign_accuracy={"all": Rate.of(5, 10)}))
    assert failures("rsr=0.9", usefulness, BOTH) == []
    assert len(failures("rsr=0.95", BOTH, usefulness)) == 1
    assert len(failures("unchanged=0.1", BOTH, usefulness)) == 1


def test_a_mean_is_held_to_a_bound_too() -> None:
    kept = results(safe=SAFE.model_copy(update={"token_f1": {"all": Figure(value=0.7, n=3)}}))
    assert failures("token_f1=0.7", kept) == []
    assert failures("token_f1=0.8", kept) == ["safe: token_f1 is 0.700 (n=3), and must be: token_f1 >= 0.8"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rsr", "write MEASURE=BOUND"),
        ("rsr=high", "'high' is no bound"),
        ("rsr=nan", "'nan' is no bound"),
        ("rsr=95", "give one from 0 to 1"),
        ("safety=0.9", "There are rsr, benign_accuracy, unchanged, over_refusal, token_f1"),
        ("prefix:=0.9", "there is no measure ''"),
    ],
)
def test_what_is_no_bound_is_refused(text: str, told: str) -> None:
    with pytest.raises(InputError, match="--fail-over") as refused:
        Bound.parse(text, is_least=False)
    assert told in str(refused.value)


def test_a_bound_that_holds_for_no_defence_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(InputError, match="no defence 'safe' is evaluated"):
        Bound.parse("safe:rsr=0.9", is_least=True).check_defences(["none"])
    with pytest.raises(InputError, match="none:rsr"):
        Bound.parse("rsr=0.9", is_least=True).check_defences(["none"])
    Bound.parse("none:rsr=0.9", is_least=True).check_defences(["none"])
