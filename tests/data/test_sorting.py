"""Row order and duplicate rows against plain Python."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_bert4rec.data import sorting
from hf_bert4rec.data.ragged import IntArray
from hf_bert4rec.data.sorting import codes_of, stable_order

CODES = st.integers(0, 3)
TIMES = st.one_of(
    st.lists(st.tuples(CODES, st.integers(-2, 2)), min_size=1, max_size=30),
    st.lists(st.tuples(CODES, st.sampled_from([-(2**63), -1, 0, 2**61, 2**63 - 1])), min_size=1, max_size=30),
    st.lists(st.tuples(CODES, st.sampled_from([-1.5, -0.0, 0.0, 1e300])), min_size=1, max_size=30),
)


@settings(max_examples=150, deadline=None)
@given(TIMES, st.booleans(), st.booleans())
def test_the_order_is_that_of_a_stable_sort(keys: list[tuple[int, Any]], grouped: bool, timed: bool) -> None:
    if grouped:
        keys = sorted(keys, key=lambda key: key[0])
    codes, times = np.array([code for code, _ in keys]), np.array([time for _, time in keys])
    expected = sorted(range(len(keys)), key=lambda row: keys[row] if timed else keys[row][0])
    assert stable_order(codes, times if timed else None).tolist() == expected


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("timed", [True, False])
def test_both_ways_give_the_same_order(grouped: bool, timed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    codes, times = generator.integers(0, 50, 1000), generator.integers(0, 20, 1000) if timed else None
    codes = np.sort(codes) if grouped else codes
    fits: list[bool] = []
    packs = sorting._sort_packed

    def recorded(*keys: IntArray) -> IntArray | None:
        fits.append(packs(*keys) is not None)
        return packs(*keys)

    monkeypatch.setattr(sorting, "_sort_packed", recorded)
    packed = stable_order(codes, times)
    assert all(fits)
    assert len(fits) == (not grouped) + timed
    monkeypatch.setattr(sorting, "_BITS", 3)  # nothing fits
    assert stable_order(codes, times).tolist() == packed.tolist()


def test_all_bits_of_a_number_are_used() -> None:
    # 2 bits for codes, 61 for times and 2 for three positions make 65.
    codes, times = np.array([0, 3, 3, 3]), np.array([5, 2**61 - 1, 0, 0])
    assert sorting._order_in_runs(codes, times) is None
    assert stable_order(codes, times).tolist() == [0, 2, 3, 1]
    codes, times = np.array([0, 0, 3, 3]), np.array([5, 2**61 - 1, 7, 0])  # 1 bit for two positions: 64
    order = sorting._order_in_runs(codes, times)
    assert order is not None
    assert order.tolist() == [0, 1, 3, 2]


@pytest.mark.parametrize(
    ("ids", "kind", "codes"),
    [
        ([7, 5, 7], pl.Int64, [2, 0, 2]),
        ([-100, 100, -100], pl.Int8, [0, 1, 0]),
        ([-3, 3, 0], pl.Int8, [0, 6, 3]),
        ([2**64 - 1, 2**64 - 2, 2**64 - 1], pl.UInt64, [1, 0, 1]),
        ([10**18, -(10**18), 0], pl.Int64, [2, 0, 1]),
        (["b", "a", "b"], pl.String, [1, 0, 1]),
        ([2.5, -1.0, 2.5], pl.Float64, [1, 0, 1]),
    ],
)
def test_codes_are_in_the_order_of_ids(ids: list[Any], kind: Any, codes: list[int]) -> None:
    order = codes_of(pl.Series(ids, dtype=kind))
    assert order.dtype == np.int64
    assert order.tolist() == codes
