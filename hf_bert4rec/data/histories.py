"""Ratings into histories: one row a user, in one stable chronological order."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from datasets import Dataset, Features, List

from .tables import dataset_of, to_frame

logger = logging.getLogger(__name__)

_LARGEST = np.iinfo(np.int64).max


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
    if not frame.is_empty():
        frame = _core(_without_repeats(_in_order(frame)), min_interactions)
    if frame.is_empty():
        raise ValueError(_nobody_left(ratings, min_interactions, min_rating))
    return _grouped(frame, ratings.features)


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


def _in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Sort by (user, timestamp, row); most releases are in order of users already."""
    keys = [name for name in ("user_id", "timestamp") if name in frame.columns]
    return frame.sort(keys, maintain_order=True)


def _without_repeats(frame: pl.DataFrame) -> pl.DataFrame:
    """Keep the first of the rows with the same user and item."""
    users, items = _codes(frame["user_id"]), _codes(frame["movie_id"])
    if int(users.max() + 1) * int(items.max() + 1) > _LARGEST:  # ids with huge gaps: number them without
        users, items = _ranks(frame["user_id"]), _ranks(frame["movie_id"])
    pairs = users * (items.max() + 1) + items
    # Sorting whole numbers is several times faster than hashing pairs; stable, so that the first row comes first.
    order = np.argsort(pairs, kind="stable")
    ordered = pairs[order]
    repeats = order[1:][ordered[1:] == ordered[:-1]]
    if not len(repeats):
        return frame
    logger.warning("%d of %d interactions repeat a user's earlier one: left out", len(repeats), frame.height)
    first = np.ones(frame.height, dtype=bool)
    first[repeats] = False
    return frame.filter(first)


def _codes(ids: pl.Series) -> npt.NDArray[np.int64]:
    """Small whole numbers, one for each id, shape (rows,)."""
    if not ids.dtype.is_integer():
        return _ranks(ids)
    low, high = ids.min(), ids.max()
    assert isinstance(low, int)
    assert isinstance(high, int)
    return (ids - low).to_numpy() if high - low < _LARGEST else _ranks(ids)


def _ranks(ids: pl.Series) -> npt.NDArray[np.int64]:
    """Numbers without gaps, from 0, in the order of the ids."""
    return ids.rank("dense").to_numpy().astype(np.int64) - 1


def _core(frame: pl.DataFrame, least: int) -> pl.DataFrame:
    """The k-core: every user and every item has at least `least` rows. Order is kept."""
    if least == 1:
        return frame
    height = -1
    while height != frame.height:
        height = frame.height
        for name in ("movie_id", "user_id"):
            frame = frame.filter(pl.len().over(name) >= least)
    return frame


def _grouped(frame: pl.DataFrame, features: Features) -> Dataset:
    """Rows in order of users into one row a user with lists, over the same memory."""
    runs = frame["user_id"].rle().struct.unnest()
    offsets = np.concatenate([[0], np.cumsum(runs["len"].to_numpy(), dtype=np.int64)])
    columns = {"user_id": ("user_id", runs["value"].to_arrow())}
    for name, source in (("item_ids", "movie_id"), ("timestamps", "timestamp")):
        if source in frame.columns:
            columns[name] = (source, pa.LargeListArray.from_arrays(offsets, frame[source].to_arrow()))
    kinds = {
        name: features[source] if name == "user_id" else List(features[source]) for name, (source, _) in columns.items()
    }
    return dataset_of(pa.table({name: array for name, (_, array) in columns.items()}), Features(kinds))
