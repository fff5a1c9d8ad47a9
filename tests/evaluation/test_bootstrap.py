"""Bootstrap intervals: their width, seed and pairing."""

import numpy as np
import pytest

from hf_bert4rec.evaluation.bootstrap import intervals


def test_the_interval_is_as_wide_as_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 2000)
    mean, low, high = intervals({"x": values}, resamples=2000)["x"].values()
    half = 1.96 * values.std() / np.sqrt(2000)
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.1 * half)


def test_the_interval_of_a_metric_does_not_depend_on_the_others() -> None:
    values = np.random.default_rng(0).random((2, 300))
    single = intervals({"a": values[0]}, seed=5)["a"]
    assert intervals({"b": values[1], "a": values[0]}, seed=5)["a"] == pytest.approx(single, abs=1e-12)
    assert intervals({"a": values[0]}, seed=6)["a"] != single


def test_users_without_a_value_are_left_out() -> None:
    values = np.array([1.0, np.nan, 1.0, np.nan, 1.0] * 8)
    assert intervals({"x": values, "y": np.zeros(40)})["x"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert intervals({"x": np.array([0.5, np.nan, np.nan])})["x"] == {"mean": 0.5, "low": 0.5, "high": 0.5}
    with pytest.raises(ValueError, match="x has no value for any of 2 users"):
        intervals({"x": np.full(2, np.nan)})
