"""Requests in the forms of other libraries: datasets, iterators, data frames, boolean ratings, times in every unit."""

import datetime as dt
import types

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from datasets import Dataset, Features, List, Value
from transformers.pipelines.pt_utils import KeyDataset

from hf_bert4rec import MovieRecommendationPipeline
from hf_bert4rec.model.pipeline_bert4rec import TASK
from hf_bert4rec.model.values_bert4rec import UNKNOWN_TIME, parse_timestamp, parse_timestamps
from tests.model.tiny import ids_of

HISTORIES = [[10, 13], [16], [19, 22, 25]]
NEW_YEAR_2024 = 1_704_103_200  # 2024-01-01 10:00:00 UTC, by `date -u -d "2024-01-01 10:00:00" +%s`


class MapStyle(torch.utils.data.Dataset):
    def __len__(self):
        return len(HISTORIES)

    def __getitem__(self, index):
        return HISTORIES[index]


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(HISTORIES)


def all_ids(answers):
    return [ids_of(answer) for answer in answers]


@pytest.fixture
def expected(pipe):
    return all_ids(pipe(HISTORIES))


ROWS = Dataset.from_dict({"history": HISTORIES})


@pytest.mark.parametrize(
    "inputs",
    [KeyDataset(ROWS, "history"), MapStyle(), Stream(), ROWS.to_iterable_dataset()],
    ids=["KeyDataset", "map style", "iterable", "datasets iterable"],
)
def test_datasets_are_answered_lazily(pipe, expected, inputs):
    answers = pipe(inputs)
    assert isinstance(answers, types.GeneratorType)
    assert all_ids(answers) == expected


@pytest.mark.parametrize("wrap", [iter, lambda rows: map(list, rows), lambda rows: (row for row in rows)])
def test_an_iterator_is_read_lazily(pipe, wrap):
    read = []

    def histories():
        for history in HISTORIES * 10:
            read.append(history)
            yield history

    next(pipe(wrap(histories()), batch_size=2))
    assert len(read) == 2
    built = MovieRecommendationPipeline(model=pipe.model, tokenizer=pipe.tokenizer, task=TASK, batch_size=3)
    next(built(wrap(histories())))
    assert len(read) == 2 + 3


EMPTY_ROWS = Dataset.from_dict({"history": []}, features=Features({"history": List(Value("int64"))}))


@pytest.mark.parametrize(
    "empty",
    [
        EMPTY_ROWS,
        EMPTY_ROWS["history"],
        pl.Series([], dtype=pl.List(pl.Int64)),
        pa.chunked_array([pa.array([], pa.list_(pa.int64()))]),
        np.zeros((0, 3), dtype=int),
        torch.zeros(0, 3),
    ],
    ids=["Dataset", "column", "polars", "arrow", "array", "tensor"],
)
def test_an_empty_column_of_histories_is_an_empty_batch(pipe, empty):
    assert pipe(empty) == []
    assert pipe.embed_users(empty).shape == (0, pipe.model.config.hidden_size)


def test_an_empty_iterator_or_data_set_has_no_answers(pipe):
    for empty in (iter([]), KeyDataset(EMPTY_ROWS, "history")):
        assert list(pipe(empty)) == []
        assert pipe.embed_users(empty).shape == (0, pipe.model.config.hidden_size)


@pytest.mark.parametrize("empty", [[], (), np.array([], dtype=int), pd.Series([], dtype=int), pl.Series([], dtype=int)])
def test_an_empty_list_of_ids_is_one_empty_history(pipe, empty):
    assert ids_of(pipe(empty, top_k=2)) == [127, 124]  # the most popular ones, from the last


@pytest.mark.parametrize(("wrong", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_batch_size_below_1_or_not_an_integer_is_refused(pipe, wrong, error):
    expected = {ValueError: f"batch_size is {wrong}; it must be 1 or more", TypeError: f"is an integer, not {wrong}"}
    for call in (pipe, pipe.embed_users):
        for inputs in ([10], HISTORIES, iter(HISTORIES)):
            with pytest.raises(error, match=expected[error]):
                call(inputs, batch_size=wrong)


@pytest.mark.parametrize("batch_size", [1, np.int64(2), 10**30])
def test_any_batch_size_of_1_or_more_gives_the_same_answers(pipe, expected, batch_size):
    assert all_ids(pipe(HISTORIES, batch_size=batch_size)) == expected
    built = MovieRecommendationPipeline(model=pipe.model, tokenizer=pipe.tokenizer, task=TASK, batch_size=batch_size)
    assert all_ids(built(HISTORIES)) == expected


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_row_without_an_option_of_its_own_has_that_of_the_call(pipe, missing):
    own = {"history": [10], "top_k": 3, "genres": ["Romance", "Drama"], "exclude_seen": False, "diversity": 0.2}
    rows = [own, {**dict.fromkeys(own, missing), "history": [10]}]
    answers = all_ids(pipe(rows, top_k=2, genres=["Romance"]))
    assert answers[0] == ids_of(pipe(own))
    assert sorted(answers[1]) == [16, 19]


def test_rows_of_a_data_frame_in_which_a_number_is_missing(pipe):
    frame = pd.DataFrame({"history": [[10], [10]], "top_k": [3, None]})  # which makes them floats
    assert list(map(len, pipe(frame.to_dict("records"), top_k=2))) == [3, 2]


def test_num_workers_is_accepted(pipe, expected):
    assert all_ids(pipe(HISTORIES, num_workers=2)) == expected
    assert all_ids(pipe(KeyDataset(ROWS, "history"), num_workers=2, batch_size=2)) == expected


@pytest.mark.parametrize("table", [pd.DataFrame, pl.DataFrame])
def test_a_data_frame_is_refused_and_its_column_answered(pipe, expected, table):
    frame = table({"history": HISTORIES})
    with pytest.raises(TypeError, match=r"a DataFrame is a table: give one of its columns, such as frame\['history'\]"):
        pipe(frame)
    assert all_ids(pipe(frame["history"])) == expected
    assert all_ids(pipe(pa.chunked_array([HISTORIES]))) == expected


@pytest.mark.parametrize(
    "table",
    [
        pl.DataFrame({"movie_id": [10, 13]}).lazy(),
        pl.DataFrame({"user_id": [10, 13], "movie_id": [16, 19]}).to_arrow(),
        pa.record_batch({"movie_id": [10, 13]}),
        pd.DataFrame({"movie_id": [10, 13]}).to_records(),
        pd.DataFrame({"history": []}),
    ],
    ids=["polars lazy", "arrow", "arrow batch", "numpy records", "empty"],
)
def test_every_kind_of_table_is_refused(pipe, table):
    for call in (pipe, pipe.embed_users, pipe.similar, lambda rows: pipe({"history": rows})):
        with pytest.raises(TypeError, match=f"a {type(table).__name__} is a table"):
            call(table)


def test_a_history_without_an_order_is_refused(pipe):
    for inputs in ({10, 13}, {"history": frozenset([10, 13])}, [{10, 13}, [16]]):
        with pytest.raises(TypeError, match=r"oldest first; a (frozen)?set has no order"):
            pipe(inputs)
    assert ids_of(pipe([10], exclude={13, 16})) == ids_of(pipe([10], exclude=[13, 16]))


def test_rows_with_other_columns_go_through_map(pipe, expected, recwarn):
    rows = ROWS.add_column("user_id", ["ann", "bob", "cat"])
    mapped = rows.map(lambda row: {"answer": ids_of(pipe(row))})
    assert mapped["answer"][:] == expected
    assert all_ids(pipe(rows)) == expected
    assert not recwarn
    with pytest.warns(UserWarning, match="not options of a request, ignored: 'country'"):
        pipe({"history": [10], "country": "NL"})


def test_the_error_for_an_unknown_option_ends_with_a_full_stop(pipe):
    with pytest.raises(ValueError, match=r"unknown option 'colour'\. A request takes top_k, .*, min_rating\.$"):
        pipe([10], colour=1)


def test_boolean_ratings_are_likes_and_ambiguous_ones_are_refused(pipe):
    with pytest.raises(ValueError, match=r"ratings are \[1, 1\], none above 1: for thumbs .* True and False"):
        pipe([10, 13], ratings=[1, 1])
    with pytest.raises(ValueError, match=r"ratings are \[-1, 1\], none above 1"):
        pipe([10, 13], ratings=[-1, 1])
    liked = ids_of(pipe([10, 13]))
    for ratings, options in (([True, True], {}), ([-1, 1], {"min_rating": -1}), (np.array([True, True]), {})):
        assert ids_of(pipe([10, 13], ratings=ratings, **options)) == liked
    assert ids_of(pipe([10, 13], ratings=[True, False])) == ids_of(pipe([10], exclude=[13]))
    assert {movie["source"] for movie in pipe([10], ratings=[1], min_rating=3)} == {"popularity"}


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, np.float64("nan")])
def test_a_missing_rating_is_no_rating(pipe, missing):
    assert ids_of(pipe([10, 13], ratings=[5, missing])) == ids_of(pipe([10, 13]))


@pytest.mark.parametrize(
    "value",
    [
        NEW_YEAR_2024,
        NEW_YEAR_2024 * 10**3,
        NEW_YEAR_2024 * 10**6,
        NEW_YEAR_2024 * 10**9,
        NEW_YEAR_2024 * 10**9 + 999_999_999,
        float(NEW_YEAR_2024) + 0.9,
        str(NEW_YEAR_2024),
        "2024-01-01 10:00:00 UTC",
        "2024-01-01 10:00:00.123456 UTC",
        "2024-01-01 10:00:00.5 UTC",
        "2024-01-01T10:00:00Z",
        "2024-01-01 11:00:00+01:00",
        "2024-01-01 10:00:00+00",
        " 2024-01-01 10:00:00 ",
        dt.datetime(2024, 1, 1, 10),
        dt.datetime(2024, 1, 1, 11, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        pd.Timestamp("2024-01-01 10:00:00"),
        pd.Timestamp("2024-01-01 10:00:00.123456789", tz="UTC"),
        np.datetime64("2024-01-01T10:00:00"),
        np.datetime64("2024-01-01T10:00:00.123456789"),
        np.int64(NEW_YEAR_2024),
    ],
)
def test_a_timestamp_in_any_form_is_read_in_seconds(value):
    assert parse_timestamp("now", value) == NEW_YEAR_2024
    assert parse_timestamps([value]) == [NEW_YEAR_2024]


@pytest.mark.parametrize("value", [dt.date(2024, 1, 1), np.datetime64("2024-01-01"), "2024-01-01"])
def test_a_day_begins_at_midnight_utc(value):
    assert parse_timestamp("now", value) == NEW_YEAR_2024 - 36_000


def test_a_history_has_one_time_unit():
    assert parse_timestamps([5_000, 1_704_103_200_000]) == [5, NEW_YEAR_2024]  # milliseconds, the first of 1970
    assert parse_timestamps([dt.date(1970, 1, 2), 1_704_103_200_000]) == [86_400, NEW_YEAR_2024]
    before_1970 = [-1_704_103_200_500, -500, dt.datetime(1969, 12, 31, 23, 59, 59, 500_000)]
    assert parse_timestamps(before_1970) == [-NEW_YEAR_2024 - 1, -1, -1]  # rounded down
    column = np.array(["2024-01-01T10:00:00", "NaT"], "datetime64[ns]").tolist()
    assert parse_timestamps(column) == [NEW_YEAR_2024, UNKNOWN_TIME]


@pytest.mark.parametrize("missing", [None, pd.NaT, float("nan"), np.datetime64("NaT"), pd.NA])
def test_a_missing_time_is_unknown(missing):
    assert parse_timestamps([missing, 7]) == [UNKNOWN_TIME, 7]
    with pytest.raises(ValueError, match="timestamps decrease at index 2, to 6"):
        parse_timestamps([7, missing, 6])


@pytest.mark.parametrize("value", ["31.01.2024", "01/02/2024", "1-2-2024 10:00"])
def test_dates_with_day_or_month_first_are_refused_with_a_hint(value):
    with pytest.raises(ValueError, match=r"write it as 2026-11-25T16:00:00, year first \(day and month would be amb"):
        parse_timestamp("now", value)
