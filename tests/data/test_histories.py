"""build_histories against a naive version; its order, its k-core and its errors."""

from datetime import date
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import polars as pl
import pyarrow as pa
import pytest
from datasets import Dataset
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hf_bert4rec.data import build_histories, histories
from tests.stress.tables import naive_histories


def table(rows: list[tuple[Any, ...]], *names: str) -> Dataset:
    return Dataset.from_list([dict(zip(names, row, strict=True)) for row in rows])


IDS = st.one_of(st.integers(0, 5), st.sampled_from([-(10**18), 10**18, 7 * 10**17]))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(IDS, IDS, st.integers(0, 3)), min_size=1, max_size=40),
    st.integers(1, 4),
    st.booleans(),
    st.booleans(),
)
def test_equals_the_naive_version(
    rows: list[tuple[int, int, int]], min_interactions: int, timed: bool, text: bool
) -> None:
    kind = str if text else int
    records = [{"user_id": kind(user), "movie_id": kind(item), "timestamp": time} for user, item, time in rows]
    if not timed:
        records = [{name: row[name] for name in ("user_id", "movie_id")} for row in records]
    expected = naive_histories(records, min_interactions)
    if expected:
        assert build_histories(Dataset.from_list(records), min_interactions).to_list() == expected
    else:
        with pytest.raises(ValueError, match=f"No user is left of {len(records)} interactions"):
            build_histories(Dataset.from_list(records), min_interactions)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(IDS, IDS, st.integers(0, 3), st.integers(1, 5)), min_size=1, max_size=40),
    st.sampled_from(["first", "last", "all"]),
    st.sampled_from([None, 3]),
    st.booleans(),
)
def test_sorting_users_in_blocks_changes_nothing(
    rows: list[tuple[int, int, int, int]], repeats: str, min_rating: float | None, grouped: bool
) -> None:
    ratings = table(sorted(rows) if grouped else rows, "user_id", "movie_id", "timestamp", "rating")
    assume(min_rating is None or any(rating >= min_rating for *_, rating in rows))
    expected = build_histories(ratings, 1, min_rating, repeats, with_ratings=True)
    with patch.object(histories, "ROWS_PER_SORT", 3):
        assert build_histories(ratings, 1, min_rating, repeats, with_ratings=True).to_list() == expected.to_list()


def test_min_rating_is_applied_first() -> None:
    rows = [(1, 5, 2.0, 1), (1, 5, 4.0, 3), (1, 6, 3.5, 2), (2, 6, 3.0, 1)]
    histories = build_histories(table(rows, "user_id", "movie_id", "rating", "timestamp"), 1, min_rating=3.5)
    assert histories.to_list() == [{"user_id": 1, "item_ids": [6, 5], "timestamps": [2, 3]}]


def test_the_k_core_is_iterated() -> None:
    # User 3 falls first, then item 9 with it, then user 2: one pass would keep user 2.
    rows = [(1, 7), (1, 8), (2, 8), (2, 9), (3, 9), (4, 7), (4, 8)]
    histories = build_histories(table(rows, "user_id", "movie_id"), 2)
    assert histories.to_list() == [{"user_id": 1, "item_ids": [7, 8]}, {"user_id": 4, "item_ids": [7, 8]}]


def test_types_follow_the_ratings() -> None:
    histories = build_histories(table([("b", "x", 0.5), ("a", "y", 1.5)], "user_id", "movie_id", "timestamp"), 1)
    assert histories.features["user_id"].dtype == "string"
    assert histories.features["item_ids"].feature.dtype == "string"
    assert histories.features["timestamps"].feature.dtype == "float64"
    assert histories["user_id"][:] == ["a", "b"]


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"lack the columns \['movie_id'\]; they have \['user_id', 'item'\]"):
        build_histories(table([(1, 2)], "user_id", "item"))
    with pytest.raises(ValueError, match=r"lack the columns \['rating'\].*--rating_column"):
        build_histories(table([(1, 2)], "user_id", "movie_id"), min_rating=3)
    with pytest.raises(ValueError, match=r"the ratings, row 1 .*'user_id' is None, but an id is needed"):
        build_histories(table([(1, 2), (None, 2)], "user_id", "movie_id"), 1)
    with pytest.raises(ValueError, match=r"the ratings, row 0 .*'timestamp' is inf, but a time is a finite"):
        build_histories(table([(1, 2, float("inf"))], "user_id", "movie_id", "timestamp"), 1)
    rows = [(1, 2, 1.0), (1, 3, float("nan"))]
    with pytest.raises(ValueError, match=r"the ratings, row 1 .*'timestamp' is nan, but a time is a finite"):
        build_histories(table(rows, "user_id", "movie_id", "timestamp"), 1)
    with pytest.raises(ValueError, match="min_interactions must be 1"):
        build_histories(table([(1, 2)], "user_id", "movie_id"), 0)


def test_an_empty_result_names_the_number_of_users() -> None:
    message = r"of 2 interactions of 1 users with 2 items when users and items need 5 .*Lower min_interactions"
    with pytest.raises(ValueError, match=message):
        build_histories(table([(1, 2), (1, 3)], "user_id", "movie_id"))
    with pytest.raises(ValueError, match=r"counting ratings of 4.5 or higher"):
        build_histories(table([(1, 2, 4.0)], "user_id", "movie_id", "rating"), 1, min_rating=4.5)


@pytest.mark.parametrize(
    "ids",
    [
        pa.array(map(Decimal, [7, 8, 7]), pa.decimal128(10, 0)),
        pa.array([date(2024, 5, day) for day in (1, 2, 1)]),
        pa.array(["7", "8", "7"], pa.large_string()),
    ],
    ids=["decimals", "dates", "large text"],
)
def test_ids_of_other_types_keep_them(ids: pa.Array) -> None:
    ratings = Dataset(pa.table({"user_id": ids, "movie_id": ids}))
    histories = build_histories(ratings, 1, repeats="all")
    assert histories.features["user_id"] == histories.features["item_ids"].feature == ratings.features["user_id"]
    assert histories["item_ids"][:] == [[ids[0].as_py()] * 2, [ids[1].as_py()]]


@pytest.mark.parametrize("kind", [pl.Int64, pl.Float64, pl.Datetime("us"), pl.String])
def test_a_table_without_rows_leaves_no_user(kind: pl.DataType) -> None:
    empty = pl.DataFrame(schema={"user_id": pl.Int64, "movie_id": pl.Int64, "timestamp": kind})
    with pytest.raises(ValueError, match="No user is left of 0 interactions"):
        build_histories(Dataset.from_polars(empty))
