"""Rates as figures."""

import warnings
from typing import Any

import pytest

from davsp.rates import Rate, Rates
from davsp.report.charts import draw_front, draw_rates
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


def test_the_front_of_a_training_shows_which_validated_prompts_are_not_beaten() -> None:
    def record(step: int, refused: float, kept: float, over_refusal: float) -> dict[str, Any]:
        return {"step": step, "validation": {"refused": refused, "kept": kept, "over_refusal": over_refusal}}

    losses = {"step": 1, "malicious_alignment_loss": 2.0}
    records = [record(0, 0.5, 1.0, 0.0), losses, record(20, 0.9, 0.9, 0.1), record(40, 0.8, 0.9, 0.1)]
    svg = draw_front(records)
    assert svg.startswith("<svg") and "harmless queries refused" in svg
    for panel in svg.split('id="')[1:]:
        assert "http" not in panel
    unbeaten, one_beaten = draw_front([records[0], records[2]]), draw_front([records[2], records[3]])
    assert unbeaten.count("fill: #8b6fc0; stroke") == 4 and one_beaten.count("fill: #8b6fc0; stroke") == 2
    assert draw_front(records[:2]) == "" and draw_front([losses]) == ""
    several = [{"step": s, "validation": {"refused_1": 0.5, "refused_2": 0.7, "kept_1": 1.0}} for s in (0, 20)]
    assert "harmless queries" not in draw_front(several)
