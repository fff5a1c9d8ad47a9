"""Ratings into histories: one row a user, in one stable chronological order."""

from __future__ import annotations

import logging

import numpy as np
import polars as pl
import pyarrow as pa
from datasets import Dataset, Features, List

from .tables import to_frame

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
    before = (frame.height, frame["user_id"].n_unique(), frame["movie_id"].n_unique())
    frame = _without_repeats(_in_order(frame))
    frame = _core(frame, min_interactions)
    if frame.is_empty():
        counts = "{:,} interactions of {:,} users with {:,} items".format(*before)
        wish = "" if min_rating is None else f" rated {min_rating:g} or higher"
        raise ValueError(
            f"No user is left of {counts}{wish} when users and items need {min_interactions} interactions each. "
            "Lower min_interactions (1 keeps all) or min_rating, or give more data."
        )
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


def _in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Sort by (user, timestamp, row); most releases are in order of users already."""
    keys = [name for name in ("user_id", "timestamp") if name in frame.columns]
    return frame.sort(keys, maintain_order=True)


def _without_repeats(frame: pl.DataFrame) -> pl.DataFrame:
    once = frame.unique(["user_id", "movie_id"], keep="first", maintain_order=True)
    if repeats := frame.height - once.height:
        logger.warning("%d of %d interactions repeat a user's earlier one: left out", repeats, frame.height)
    return once


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
    schema = Features(kinds).arrow_schema
    return Dataset(pa.table({name: array for name, (_, array) in columns.items()}).cast(schema))
