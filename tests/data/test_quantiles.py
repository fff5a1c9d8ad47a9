"""Quantiles of numbers in several arrays are those of all numbers, sorted."""

from __future__ import annotations

import numpy as np
import pytest

from hf_bert4rec.data.folder.quantiles import value_at_quantile

GENERATOR = np.random.default_rng(0)
NUMBERS = {
    "times": 1_500_000_000 + GENERATOR.integers(0, 1000, 5000),
    "integers of all sizes": GENERATOR.integers(-(2**63), 2**63 - 1, 5000, endpoint=True),
    "floats of both signs": GENERATOR.normal(size=5000) * 1e9,
    "equal numbers": np.full(9, 7),
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("quantile", [0.001, 0.3, 0.5, 0.9, 0.9999])
def test_the_value_is_that_of_the_sorted_numbers(name: str, quantile: float) -> None:
    numbers = NUMBERS[name]
    value = value_at_quantile(lambda: np.array_split(numbers, 4), quantile)
    expected = np.sort(numbers)[int(quantile * len(numbers))].item()
    assert (value, type(value)) == (expected, type(expected))


def test_no_numbers_have_no_quantile() -> None:
    with pytest.raises(ValueError, match="all timestamps are the same, or there are none"):
        value_at_quantile(lambda: [np.empty(0, dtype=np.int64)], 0.5)
