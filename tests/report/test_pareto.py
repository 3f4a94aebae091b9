"""Safety against usefulness and over-refusal."""

from pathlib import Path

import pytest

from davsp.rates import Measure
from davsp.report.charts import draw_trade_off
from davsp.report.collect import collect
from davsp.report.comparison import write_comparison
from davsp.report.pareto import DefencePoint, Estimate, overall, pareto_front, trade_off_of
from davsp.report.tables import tables
from tests.evaluations import (
    DEFENCES,
    OVER_REFUSAL,
    SAFETY,
    benchmark,
    score,
    verdicts,
    write_evaluation,
    write_model,
)


def test_the_front_is_what_nothing_else_beats_in_both() -> None:
    assert pareto_front([(1, 1), (2, 3), (3, 2), (2, 2), (2, 3)]) == [1, 2, 4]


def test_a_value_outside_its_interval_is_drawn() -> None:
    # The percentiles of a bootstrap need not hold the value itself between them.
    point = DefencePoint("odd", Estimate(50, 60, 70), Estimate(1, 0.2, 0.5), Estimate(3, 3, 3))
    assert "odd" in draw_trade_off([point], "points")


def test_a_defence_not_asked_everything_is_not_drawn(tmp_path: Path) -> None:
    write_model(tmp_path, "m", 2)
    behind = {"late": verdicts(SAFETY, 0.9, 9)}
    write_evaluation(tmp_path / "more", SAFETY, behind, model="m", benchmark=benchmark("figstep", "tiny"))
    evaluations = collect([tmp_path])
    trade_off = trade_off_of(tables(evaluations)[0], evaluations)
    assert [point.defence for point in trade_off.points] == list(DEFENCES)[:2]
    assert trade_off.left_out == ["late"]


def test_a_point_counts_every_query_of_every_benchmark_once(tmp_path: Path) -> None:
    group = collect([write_model(tmp_path, "m", 2)])
    found = overall(group, "none", Measure.RSR)
    assert found is not None and (found.n, found.unscored) == (99, 1)
    assert overall(group, "nobody", Measure.RSR) is None


def test_usefulness_without_right_answers_is_the_official_score(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", SAFETY, {"none": verdicts(SAFETY, 0.5, 0)})
    facts = benchmark("mm_vet", "all", "usefulness", title="MM-Vet")
    given = verdicts(OVER_REFUSAL, 1, 0)
    write_evaluation(
        tmp_path / "b", OVER_REFUSAL, {"none": given}, benchmark=facts, scores={"none": {"total": score(39.0)}}
    )
    evaluations = collect([tmp_path])
    trade_off = trade_off_of(tables(evaluations)[0], evaluations)
    assert trade_off.usefulness == "MM-Vet, all, score (higher is better)"
    assert trade_off.points[0].usefulness == (39.0, 37.0, 41.0)


def test_without_usefulness_safety_stands_against_over_refusal(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    groups = [*SAFETY, *OVER_REFUSAL]
    write_evaluation(tmp_path / "a", groups, {"none": verdicts(groups, 0.5, 0)})
    evaluations = collect([tmp_path])
    [point] = trade_off_of(tables(evaluations)[0], evaluations).points
    assert point.usefulness is None and point.over_refusal is not None
    page = write_comparison([tmp_path], tmp_path / "out").read_text()
    assert page.count("<svg") == 1
