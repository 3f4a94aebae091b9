"""Rates as figures."""

import warnings

import pytest

from davsp.rates import Rate, Rates
from davsp.report.charts import draw_rates
from tests.report.one_evaluation import RATES

pytest.importorskip("matplotlib")


def test_names_of_users_are_drawn_as_they_are_and_never_as_formulas() -> None:
    kind = r"$\frac$ 日本"
    rates = Rates(rsr={kind: Rate.of(3, 5)}, benign_accuracy={}, over_refusal={})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw_rates({r"$\x$ <b>": rates, "none": rates}, [kind]).startswith("<svg")


def test_there_is_a_panel_for_every_measure_of_every_kind() -> None:
    def panels(svg: str) -> int:
        return svg.count("-axes_")

    compared = RATES.model_copy(update={"unchanged": RATES.benign_accuracy})
    assert panels(draw_rates({"none": RATES})) == 3
    assert panels(draw_rates({"none": RATES, "border": compared})) == 4
    assert panels(draw_rates({"none": RATES}, ["sd", "typo"])) == 6
    assert draw_rates({"none": RATES}) == draw_rates({"none": RATES})


def test_where_nothing_was_scored_nothing_is_drawn() -> None:
    assert draw_rates({"none": Rates(rsr={}, benign_accuracy={}, over_refusal={})}) == ""
    assert "<svg" in draw_rates({"none": Rates(rsr={"sd": Rate.of(0, 0, 4)}, benign_accuracy={}, over_refusal={})})
