"""Ratings into histories: one row a user, in one stable chronological order."""

from __future__ import annotations

import logging

import numpy as np
import polars as pl
import pyarrow as pa
from datasets import Dataset, Features, List

from .ragged import IntArray, offsets_of
from .sorting import codes_of, repeated_rows, run_lengths, stable_order
from .tables import dataset_of, to_frame

logger = logging.getLogger(__name__)


def build_histories(ratings: Dataset, min_interactions: int = 5, min_rating: float | None = None) -> Dataset:
    """One row a user: user_id, item_ids, and timestamps where the ratings have them.

    Within a user the order is (timestamp, row of `ratings`), stable; without timestamps it is the row order.
    Users are sorted by user_id (strings by their UTF-8 bytes: "10" before "2"). In turn:

    1. ratings below `min_rating` are left out (None keeps all);
    2. of several interactions of a user with one item the first is kept: a recommender of unseen movies cannot
       be asked for one that is in the history already. A warning counts what is left out;
    3. users and items with fewer than `min_interactions` interactions are left out, again and again until
       every one that is left has as many (the k-core; 1 keeps all).

    `item_ids` and `timestamps` are lists with the type of `movie_id` and `timestamp` in `ratings`. Raises
    ValueError for a missing column, a null id, a timestamp that is null, NaN or infinite, and where no user is
    left.
    """
    if min_interactions < 1:
        raise ValueError(f"min_interactions must be 1 (keep all) or more, not {min_interactions}")
    timed = "timestamp" in ratings.column_names
    frame = _checked(ratings, ["user_id", "movie_id", *(["timestamp"] if timed else [])], min_rating)
    rows, users = _kept(frame, min_interactions)
    if not len(rows):
        raise ValueError(_nobody_left(ratings, min_interactions, min_rating))
    return _grouped(frame, rows, offsets_of(run_lengths(users)), ratings.features)


def _checked(ratings: Dataset, columns: list[str], min_rating: float | None) -> pl.DataFrame:
    needed = columns if min_rating is None else [*columns, "rating"]
    if missing := [name for name in needed if name not in ratings.column_names]:
        raise ValueError(f"The ratings lack the columns {missing}; they have {ratings.column_names}")
    frame = to_frame(ratings, needed)
    for name in columns:
        bad = frame[name].is_null()
        if frame[name].dtype.is_float():
            bad |= ~frame[name].is_finite().fill_null(True)
        if bad.any():
            row = bad.arg_true()[0]
            raise ValueError(f"The ratings have {name} {frame[name][row]} in row {row} (counted from 0)")
    return frame if min_rating is None else frame.filter(pl.col("rating") >= min_rating).select(columns)


def _nobody_left(ratings: Dataset, min_interactions: int, min_rating: float | None) -> str:
    frame = to_frame(ratings, ["user_id", "movie_id"])
    users, items = frame["user_id"].n_unique(), frame["movie_id"].n_unique()
    wish = "" if min_rating is None else f", counting ratings of {min_rating:g} or higher"
    return (
        f"No user is left of {frame.height:,} interactions of {users:,} users with {items:,} items when users and "
        f"items need {min_interactions} interactions each{wish}. Lower min_interactions (1 keeps all) or min_rating, "
        "or give more data."
    )


def _kept(frame: pl.DataFrame, least: int) -> tuple[IntArray, IntArray]:
    """The rows that are kept, in their order, and numbers of their users. No column is moved before that is known."""
    if frame.is_empty():
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    users = codes_of(frame["user_id"])
    rows = stable_order(users, frame["timestamp"].to_numpy() if "timestamp" in frame.columns else None)
    users, items = users[rows], codes_of(frame["movie_id"])[rows]
    repeats = repeated_rows(users, items)
    if len(repeats):
        logger.warning("%d of %d interactions repeat a user's earlier one: left out", len(repeats), len(rows))
        rows, users, items = (np.delete(each, repeats) for each in (rows, users, items))
    return _core(rows, users, items, least)


def _core(rows: IntArray, users: IntArray, items: IntArray, least: int) -> tuple[IntArray, IntArray]:
    """The k-core's rows and users: every user and every item has at least `least` of the rows. Order is kept."""
    kept, height = [rows, users, items], -1
    while height != len(kept[0]):
        height = len(kept[0])
        for ids in (2, 1):  # items, then users
            counts = np.bincount(kept[ids])
            if ((counts > 0) & (counts < least)).any():
                enough = (counts >= least)[kept[ids]]
                kept = [each[enough] for each in kept]
    return kept[0], kept[1]


def _grouped(frame: pl.DataFrame, rows: IntArray, offsets: IntArray, features: Features) -> Dataset:
    """One row a user with lists; `offsets` (users + 1,) say which of the rows are whose."""
    columns = {"user_id": ("user_id", _taken(frame["user_id"], rows[offsets[:-1]]).to_arrow())}
    for name, source in (("item_ids", "movie_id"), ("timestamps", "timestamp")):
        if source in frame.columns:
            values = _taken(frame[source], rows).to_arrow()
            columns[name] = (source, pa.LargeListArray.from_arrays(offsets, values))
    kinds = {
        name: features[source] if name == "user_id" else List(features[source]) for name, (source, _) in columns.items()
    }
    return dataset_of(pa.table({name: array for name, (_, array) in columns.items()}), Features(kinds))


def _taken(column: pl.Series, rows: IntArray) -> pl.Series:
    """These rows of a column: numbers by numpy, which is ten times as fast."""
    if column.dtype.is_integer() or column.dtype.is_float():
        return pl.Series(column.to_numpy()[rows])
    return column.gather(rows)
