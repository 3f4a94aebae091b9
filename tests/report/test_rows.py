"""Rows of rates, as pages and terminals show them."""

from davsp.rates import Rate
from davsp.report.rows import format_rate, measure_tables
from tests.report.one_evaluation import RESULTS


def test_pooled_row_counts_every_query_once() -> None:
    rsr = next(iter(measure_tables(RESULTS.defences)))
    assert rsr.rows[0].kind == "all"
    assert rsr.rows[0].cells[0] == Rate.of(200, 205, 2)


def test_a_measure_of_one_kind_has_no_pooled_row() -> None:
    _, benign, _ = measure_tables(RESULTS.defences)
    assert [row.kind for row in benign.rows] == ["sd"]


def test_rates_read_as_percentages_with_interval_and_number() -> None:
    assert format_rate(Rate.of(197, 200)) == "98.5 % [95.7, 99.5] n=200"
    assert format_rate(Rate.of(0, 0, 4)) == "no score (4 unscored)"
