"""Ids, ratings and times in every unit, type and notation."""

import logging
import math
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from datasets import Dataset

from hf_bert4rec.data import build_histories, read_interactions
from hf_bert4rec.data.columns import WHITESPACE, as_ids, as_ratings
from hf_bert4rec.data.times import as_seconds
from hf_bert4rec.model.values_bert4rec import item_token, parse_timestamp

MAY_2024 = 1_714_521_600  # 2024-05-01T00:00:00Z: `date -u -d 2024-05-01 +%s`


def seconds(values: Any) -> list[Any]:
    series = values if isinstance(values, pl.Series) else pl.Series(values)
    return as_seconds(series.alias("timestamp"), "mine").to_list()


@pytest.mark.parametrize(("factor", "unit"), [(10**3, "milliseconds"), (10**6, "microseconds"), (10**9, "nanoseconds")])
def test_the_unit_of_numbers_follows_from_their_magnitude(
    factor: int, unit: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    times = [MAY_2024 * factor, 0, 86_400 * 2000 * factor]
    assert seconds(times) == [MAY_2024, 0, 86_400 * 2000]
    assert f"column 'timestamp' is in {unit}; converted to seconds" in caplog.text
    assert seconds([str(time) for time in times]) == [MAY_2024, 0, 86_400 * 2000]
    assert seconds([float(time) for time in times]) == [MAY_2024, 0, 86_400 * 2000]
    assert seconds([MAY_2024 * factor + factor // 2]) == [MAY_2024 + 0.5]


def test_floats_without_a_fraction_are_integers() -> None:
    """As pandas keeps integers after dropna()."""
    assert seconds([20240501.0, 20240502.0]) == [MAY_2024, MAY_2024 + 86_400]
    times = as_seconds(pl.Series([float(MAY_2024), 5.0]), "mine")
    assert (times.dtype, times.to_list()) == (pl.Int64, [MAY_2024, 5])
    assert as_seconds(pl.Series([MAY_2024 * 1e6, 5.0]), "mine").to_list() == [MAY_2024, 5e-6]
    assert as_seconds(pl.Series([2.0**60, 2.0**61]), "mine").to_list() == [2**60 / 1e9, 2**61 / 1e9]


def test_seconds_stay_as_they_are() -> None:
    assert seconds([MAY_2024, 5, -1]) == [MAY_2024, 5, -1]
    assert seconds([10**11 - 1]) == [10**11 - 1]
    assert seconds([10**11]) == [10**8]
    assert seconds([MAY_2024 + 0.25]) == [MAY_2024 + 0.25]
    assert seconds([1_714_521_600_123]) == [1_714_521_600.123]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            [MAY_2024 * 1000, MAY_2024],
            "row 1 .*is 1714521600, but other times of the column, such as 17145216",
        ),
        ([1.0, 1e300], r"row 1 .*is 1e\+300, but no unit makes a date of it"),
        (
            ["2024-05-01", "31.05.2024"],
            "row 1 .*is '31.05.2024', but day and month may come in either order",
        ),
        (["5/31/2024 10:00"], "row 0 .*day and month may come in either order"),
        (["2024-05-01", "NaN"], "row 1 .*is 'NaN', but a time is a number or an ISO date"),
        (pl.Series([1.0, MAY_2024], dtype=pl.Float32), r"row 1 .*but Float32 is exact up to 2\^24 only: use int64"),
        (pl.Series([MAY_2024 * 10**9, -(2**63)]), "row 1 .*but a time is needed, not the integer of NaT"),
        (["1714521600000", "1.71452E+12"], r"row 1 .*is '1.71452E\+12', but digits may be missing"),
        (["31052024", "01062024"], "row 0 .*is 31052024, but day and month may come in either order"),
        ([20240501, 20240502, 0], "row 2 .*is 0, but other times of the column are dates such as 20240501"),
        (
            [202405012400, 202405012300, 202405012301],
            "row 0 .*is 202405012400, but other times of the column are dates",
        ),
        (["5", str(-(2**63))], "row 1 .*but a time is needed, not the integer of NaT"),
        (pl.Series([1, 2**63], dtype=pl.UInt64), "row 1 .* an integer here has at most 63 bits"),
        ([timedelta(1)], "is of type Duration"),
        ([True], "is of type Boolean"),
        ([[1]], r"is of type List\(Int64\)"),
    ],
)
def test_times_that_cannot_be_read(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"mine.*{message}"):
        seconds(values)


@pytest.mark.parametrize(
    "time",
    [
        *(5, MAY_2024, 10**11 - 1, 10**11, 10**14 - 1, 10**14, 10**17 - 10**9, 10**17, MAY_2024 * 10**9),
        *("2024-05-01 12:30:00 UTC", "2024-05-01T12:30:00+02:00", "2024-05-01", datetime(2024, 5, 1, 12)),
    ],
)
def test_tables_and_requests_read_the_same_time(time: Any) -> None:
    assert math.floor(seconds([time])[0]) == parse_timestamp("now", time)


def test_dates_written_as_numbers_are_dates() -> None:
    assert seconds([20240501, 19700102]) == [MAY_2024, 86_400]
    assert seconds(["20240501"]) == [MAY_2024]
    assert seconds([202405010001]) == [MAY_2024 + 60]
    assert seconds([20240501000100]) == [MAY_2024 + 60]
    assert seconds([20241301]) == [20241301]  # there is no month 13: seconds
    for number in (2_002_000, 52_020, 32_052_024, 5_322_024, 31_121_899, 31_052_101):  # nor a day or month 0
        assert seconds([number]) == [number]


def test_notations_of_dates() -> None:
    assert seconds(["2024-05-01 00:00:05 UTC", "2024-05-01 00:00:00.250000 UTC"]) == [MAY_2024 + 5, MAY_2024 + 0.25]
    assert seconds(["2024-05-01 02:00:00+02", "2024-05-01T00:00Z"]) == [MAY_2024, MAY_2024]
    iso = ["2024-05-01", "2024-05-01T00:00:05", "2024-05-01 00:01", "2024-05-01T02:00:05+02:00"]
    assert seconds(iso) == [MAY_2024, MAY_2024 + 5, MAY_2024 + 60, MAY_2024 + 5]
    assert seconds(["2024-04-30 23:00:05.000-0100", "2024-05-01T00:00:05.25Z"]) == [MAY_2024 + 5, MAY_2024 + 5.25]
    assert seconds([date(2024, 5, 1), date(1969, 12, 31)]) == [MAY_2024, -86_400]
    assert seconds([datetime(2024, 5, 1, 0, 0, 1, 500_000)]) == [MAY_2024 + 1.5]
    assert seconds(pl.Series([Decimal(MAY_2024)])) == [MAY_2024]
    assert seconds(pl.from_pandas(pd.Series(["2024-05-01"], dtype="datetime64[ns]"))) == [MAY_2024]
    berlin = pd.Series(pd.to_datetime(["2024-05-01 02:00"])).dt.tz_localize("Europe/Berlin")
    assert seconds(pl.from_pandas(berlin)) == [MAY_2024]


def test_missing_dates_of_pandas_are_named() -> None:
    frame = pd.DataFrame({"user_id": [1, 1], "movie_id": [1, 2]})
    for times in ([np.datetime64("2024-05-01"), np.datetime64("NaT")], [pd.Timestamp("2024-05-01"), pd.NaT]):
        with pytest.raises(ValueError, match=r"row 1 .*'timestamp' is None, but a time is needed"):
            read_interactions(frame.assign(timestamp=times))


def test_histories_are_in_seconds_whatever_the_ratings_hold() -> None:
    rows = {"user_id": [1, 1], "movie_id": [5, 6]}
    for times in ([MAY_2024 * 1000 + 1000, MAY_2024 * 1000], [datetime(2024, 5, 1, 0, 0, 1), datetime(2024, 5, 1)]):
        histories = build_histories(Dataset.from_dict({**rows, "timestamp": times}), 1)
        assert histories[0] == {"user_id": 1, "item_ids": [6, 5], "timestamps": [MAY_2024, MAY_2024 + 1]}
        assert histories.features["timestamps"].feature.dtype == "int64"


def test_a_rating_that_is_not_a_number_is_not_a_high_one() -> None:
    ratings = Dataset.from_dict({"user_id": [1, 1], "movie_id": [5, 6], "rating": [4.0, float("nan")]})
    with pytest.raises(ValueError, match=r"row 1 .*'rating' is nan, but a rating is a finite number"):
        build_histories(ratings, 1, min_rating=3)


def ids(values: Any) -> list[Any]:
    series = values if isinstance(values, pl.Series) else pl.Series(values)
    return as_ids(series.alias("movie_id"), "mine").to_list()


def test_one_form_of_an_id() -> None:
    assert ids([" 10", "10", "10 ", "\t10\u00a0"]) == [10] * 4
    assert ids([" a b ", "a b"]) == ["a b", "a b"]
    assert ids(["7.0", "8"]) == [7, 8]
    assert ids(["7.0", "x"]) == ["7.0", "x"]
    assert ids(["1\u0662", "3"]) == ["1\u0662", "3"]  # an Arabic digit
    assert ids(["7", "-10"]) == [7, -10]
    for text in ("007", "-0", "tt7", "1" * 25):
        assert ids([text, "10"]) == [text, "10"]
    assert ids(pl.Series(["a", "b"], dtype=pl.Categorical)) == ["a", "b"]
    assert ids(pl.Series([7, 8], dtype=pl.UInt8)) == ids([7.0, 8.0]) == [7, 8]
    assert ids(pl.Series([Decimal(7)])) == [7]
    assert ids(pl.Series([Decimal("7.0")])) == [7]
    every_character = [f"{blank}10{blank}x{blank}" for blank in WHITESPACE if blank not in "\r\n"]
    assert ids(every_character) == [item_token(text) for text in every_character]
    assert set(WHITESPACE) == {character for code in range(0x110000) if (character := chr(code)).isspace()}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["7", "nan"], "row 1 .*is 'nan', but an id is needed"),
        (["7", "\\N", "8"], r"row 1 .*is '\\\\N', but an id is needed"),
        (["7", "NA", "8"], "row 1 .*is 'NA', but an id is needed"),
        (
            ["7", "9.78316E+12"],
            r"row 1 .*is '9.78316E\+12', but digits may be missing: format the column as text",
        ),
        (["100001", "1e+05"], r"row 1 .*is '1e\+05', but digits may be missing"),
        (["x", "9,78316E+12"], r"row 1 .*is '9,78316E\+12', but digits may be missing"),
        (["x", "y\r\nz"], "row 1 .*an id has no line break"),
        (["x", "\u3000"], r"row 1 .*is '\\u3000', but an id is needed"),
        (pl.Series([2.0**24, 2.0**24 + 2], dtype=pl.Float32), r"row 1 .*but Float32 is exact up to 2\^24 only"),
        (pl.Series([1.0, 1e300]), r"row 1 .* is 1e\+300, but Float64 is exact up to 2\^53 only"),
        (pl.Series([2.0**53 + 2, 1.0]), r"row 0 .* Float64 is exact up to 2\^53 only"),
        (pl.Series([1, 2**64 - 1], dtype=pl.UInt64), "row 1 .* is 18446744073709551615, but an integer here has"),
        ([Decimal("7.5")], "row 0 .*is 7.5, but an id is an integer or text"),
        ([[1, 2]], r"is of type List\(Int64\); ids are integers or text: give one row per interaction"),
        ([b"x"], "is of type Binary"),
        ([date(2024, 5, 1)], "is of type Date"),
    ],
)
def test_invalid_ids_are_refused(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"mine.*{message}"):
        ids(values)


def test_an_id_called_nan_among_words_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert ids(["ann", "nan"]) == ["ann", "nan"]
    assert "column 'movie_id' has the id 'nan': is it a missing value?" in caplog.text


def test_ratings_of_other_types() -> None:
    assert as_ratings(pl.Series([True, False]), "mine").to_list() == [1.0, 0.0]
    for kind in (pl.String, pl.Categorical, pl.Enum([" 4.5", "3 "])):
        assert as_ratings(pl.Series([" 4.5", "3 "], dtype=kind), "mine").to_list() == [4.5, 3.0]
    with pytest.raises(ValueError, match=r"row 1 .*is None, but a rating .*rating_column=None"):
        as_ratings(pl.Series([4.0, None]), "mine")


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("timestamp", [date(2024, 5, 1), datetime(2024, 5, 1, 3)], "'timestamp' mixes dates and datetimes; convert it"),
        ("movie_id", [2**70, 1], "a column mixes types, or holds what no table can"),
        ("movie_id", [1, "a"], "a column mixes types, or holds what no table can"),
    ],
)
def test_columns_that_pandas_keeps_as_objects(column: str, values: list[Any], message: str) -> None:
    frame = pd.DataFrame({"user_id": [1, 1], "movie_id": [5, 6], "timestamp": [2, 1]})
    with pytest.raises(ValueError, match=f"the table of interactions: .*{message}"):
        read_interactions(frame.assign(**{column: pd.Series(values, dtype=object)}))


def test_columns_of_pandas_may_be_numbers() -> None:
    ratings = read_interactions(pd.DataFrame({0: [1], 1: [2], 2: [date(2024, 5, 1)]}), "0", "1", "2")["ratings"]
    assert ratings.to_list() == [{"user_id": 1, "movie_id": 2, "timestamp": MAY_2024}]


def test_a_named_index_of_pandas_is_a_column() -> None:
    frame = pd.DataFrame({"user_id": [1, 1], "movie_id": [5, 6], "timestamp": [2, 1]}).set_index("user_id")
    assert build_histories(read_interactions(frame)["ratings"], 1)["item_ids"][:] == [[6, 5]]
