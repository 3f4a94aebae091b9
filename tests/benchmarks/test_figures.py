"""The bootstrap of official scores: percentiles of resamples within strata, from a fixed seed."""

import numpy as np
import pytest

from davsp.benchmarks.figures import resampled
from davsp.rates import Figure


def spread(figure: Figure) -> float:
    assert figure.low is not None and figure.high is not None
    return figure.high - figure.low


def test_the_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(3).normal(10, 2, 400)
    figure = resampled(float(values.mean()), [values], lambda mean: mean)
    assert spread(figure) == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert (figure.n, figure.interval) == (400, "bootstrap")
    assert figure == resampled(float(values.mean()), [values], lambda mean: mean), "the bootstrap is seeded"


def test_strata_are_resampled_apart() -> None:
    rng = np.random.default_rng(4)
    strata = [rng.normal(0, 1, 100), rng.normal(1000, 3, 400)]
    figure = resampled(1000.0, strata, lambda *means: np.sum(means, axis=0))
    expected = (strata[0].var() / 100 + strata[1].var() / 400) ** 0.5
    assert spread(figure) == pytest.approx(2 * 1.96 * expected, rel=0.1)
    assert figure.n == 500


def test_the_columns_of_a_row_stay_together() -> None:
    x = np.random.default_rng(5).normal(10, 1, (300, 1))
    figure = resampled(2.0, [np.hstack([x, 2 * x])], lambda means: means[1] / means[0])
    assert (figure.low, figure.high) == pytest.approx((2.0, 2.0))


def test_resamples_without_a_value_do_not_count() -> None:
    rows = np.array([[0.0, 0.0], [1.0, 2.0]])
    figure = resampled(2.0, [rows], lambda means: means[1] / means[0])
    assert (figure.low, figure.high) == (2.0, 2.0)
    nothing = resampled(0.0, [np.zeros((2, 2))], lambda means: means[1] / means[0])
    assert (nothing.low, nothing.high, nothing.interval) == (None, None, "")


def test_one_row_tells_nothing_of_its_spread() -> None:
    assert resampled(1.0, [np.array([1.0]), np.array([1.0, 2.0])], lambda *m: m[0]) == Figure(value=1.0, n=3)
