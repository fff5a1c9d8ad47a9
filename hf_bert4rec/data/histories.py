"""Ratings to histories: one row per user, in one stable chronological order."""

from __future__ import annotations

import logging
from collections.abc import Collection

import numpy as np
import polars as pl
import pyarrow as pa
from datasets import Dataset, Features, List, Value

from .arguments import REPEATS, DataArguments
from .columns import as_events, as_ids, as_ratings, as_weights, refuse_rows
from .ragged import IntArray, codes_with_events, offsets_of, repeated_rows, run_lengths
from .sorting import codes_of, stable_order
from .tables import dataset_of, feature_of, to_frame
from .times import as_seconds

logger = logging.getLogger(__name__)

LISTS = {"timestamp": "timestamps", "event": "events", "weight": "weights"}  # optional columns, and those of histories


def build_histories(
    ratings: Dataset, min_interactions: int = 5, min_rating: float | None = None, repeats: str = "first"
) -> Dataset:
    """Build one row per user: user_id, item_ids and, of what the ratings have, timestamps, events and weights.

    Within a user the order is (timestamp, row of `ratings`), stable; without timestamps it is the row order.
    Users are sorted by user_id (text by its UTF-8 bytes: "10" before "2"). In turn:

    1. ratings below `min_rating` are dropped (None: no rating is);
    2. of a user's interactions with one item only the first or the last stays, unless `repeats` is "all"; a warning
       counts the others. Events of different kinds do not repeat each other;
    3. users and items with fewer than `min_interactions` interactions are dropped, repeatedly, until all that remain
       have that many (the k-core; 1 drops none).

    `item_ids` have the type of `movie_id`, or are integers if that is float; blanks around ids of text are removed.
    `timestamps` are seconds, converted as by `read_interactions`.

    Raises:
        ValueError: A missing column, an id, timestamp or (with `min_rating`) rating that is missing or not finite, or
            no user is left.
    """
    check_filters(min_interactions, repeats)
    columns = ["user_id", "movie_id", *(name for name in LISTS if name in ratings.column_names)]
    frame = _checked(ratings, columns, min_rating)
    rows, users = _select_rows(frame, min_interactions, repeats)
    if not len(rows):
        pairs = to_frame(ratings, ["user_id", "movie_id"])
        counts = pairs.height, pairs["user_id"].n_unique(), pairs["movie_id"].n_unique()
        raise ValueError(no_user_left(*counts, min_interactions, min_rating))
    return _grouped(frame, rows, offsets_of(run_lengths(users)), ratings.features)


def _checked(ratings: Dataset, columns: list[str], min_rating: float | None) -> pl.DataFrame:
    needed = columns if min_rating is None else [*columns, "rating"]
    if missing := [name for name in needed if name not in ratings.column_names]:
        raise ValueError(f"The ratings lack the columns {missing}; they have {ratings.column_names}")
    frame = to_frame(ratings, needed)
    for name in ("user_id", "movie_id"):
        refuse_rows(frame[name], frame[name].is_null(), "the ratings", "an id is needed")
        kind = frame[name].dtype
        if kind.is_float() or kind == pl.String:  # as the tokenizer compares ids: " 7" is "7", and 7.0 is 7
            ids = as_ids(frame[name], "the ratings")
            frame = frame.with_columns(ids if kind.is_float() else ids.cast(pl.String))
    for name, reader in (("timestamp", as_seconds), ("event", as_events), ("weight", as_weights)):
        if name in columns:
            frame = frame.with_columns(reader(frame[name], "the ratings"))
    if min_rating is None:
        return frame
    rated = as_ratings(frame["rating"], "the ratings") >= min_rating  # Polars has NaN above all numbers
    return frame.filter(rated).select(columns)


def check_filters(min_interactions: int, repeats: str) -> None:
    """Raise ValueError for a value that `build_histories` does not take."""
    if min_interactions < 1:
        raise ValueError(f"min_interactions must be 1 (keep all) or more, not {min_interactions}")
    if repeats not in REPEATS:
        raise ValueError(f"repeats is {repeats!r}; it must be one of {', '.join(REPEATS)}")


def order_events(kinds: Collection[str], arguments: DataArguments) -> list[str]:
    """The kinds of events, those of `target_events` first; ValueError if these are missing or do not occur."""
    targets, others = arguments.target_events or [], sorted(kinds)
    unknown = [name for name in targets if name not in kinds]
    if unknown or not targets:
        raise ValueError(
            f"target_events is {arguments.target_events}, but the kinds of events in {arguments.event_column!r} are "
            f"{', '.join(map(repr, others))}: name those to recommend by target_events=[...] (--target_events)"
        )
    return [*targets, *(name for name in others if name not in targets)]


def no_user_left(interactions: int, users: int, items: int, min_interactions: int, min_rating: float | None) -> str:
    """The error where the filters leave no user of a table with these counts."""
    threshold = "" if min_rating is None else f", counting ratings of {min_rating:g} or higher"
    return (
        f"No user is left of {interactions:,} interactions of {users:,} users with {items:,} items when users and "
        f"items need {min_interactions} interactions each{threshold}. Lower min_interactions (1 keeps all) or "
        "min_rating, or give more data."
    )


def _select_rows(frame: pl.DataFrame, min_interactions: int, repeats: str) -> tuple[IntArray, IntArray]:
    """The rows of the histories, in order, and the codes of their users; columns are gathered only after this."""
    if frame.is_empty():
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    users = codes_of(frame["user_id"])
    rows = stable_order(users, frame["timestamp"].to_numpy() if "timestamp" in frame.columns else None)
    users, items = users[rows], codes_of(frame["movie_id"])[rows]
    events = codes_of(frame["event"])[rows] if "event" in frame.columns else None
    if len(surplus := surplus_rows(users, codes_with_events(items, events), repeats)):
        warn_of_repeats(len(surplus), len(rows), repeats)
        rows, users, items = (np.delete(each, surplus) for each in (rows, users, items))
    return _core(rows, users, items, min_interactions)


def surplus_rows(users: IntArray, items: IntArray, repeats: str) -> IntArray:
    """The rows of sorted histories that `repeats` drops: "first" and "last" leave one of every user and item."""
    if repeats == "all":
        return np.empty(0, dtype=np.int64)
    if repeats == "last":
        return len(users) - 1 - repeated_rows(users[::-1], items[::-1])
    return repeated_rows(users, items)


def warn_of_repeats(surplus: int, interactions: int, repeats: str) -> None:
    """Log how many interactions are dropped as repeats."""
    logger.warning(
        "%d of %d interactions repeat a user's %s one: dropped. repeats='all' (--repeats all) keeps them, to "
        "recommend items again",
        surplus,
        interactions,
        "earlier" if repeats == "first" else "later",
    )


def _core(rows: IntArray, users: IntArray, items: IntArray, min_interactions: int) -> tuple[IntArray, IntArray]:
    """The k-core's rows, in their order, and users: each user and each item has `min_interactions` rows or more."""
    core, height = [rows, users, items], -1
    while height != len(core[0]):
        height = len(core[0])
        for ids in (2, 1):  # items, then users
            counts = np.bincount(core[ids])
            if ((counts > 0) & (counts < min_interactions)).any():
                frequent = (counts >= min_interactions)[core[ids]]
                core = [column[frequent] for column in core]
    return core[0], core[1]


def _grouped(frame: pl.DataFrame, rows: IntArray, offsets: IntArray, features: Features) -> Dataset:
    """One row per user with lists; user i has `rows[offsets[i]:offsets[i + 1]]`."""
    columns = {"user_id": _gather(frame["user_id"], rows[offsets[:-1]]).to_arrow()}
    user_type, item_type = (
        Value("int64") if features[name].dtype.startswith("float") else features[name]
        for name in ("user_id", "movie_id")
    )
    types = {"user_id": user_type, "item_ids": List(item_type)}
    columns["item_ids"] = pa.LargeListArray.from_arrays(offsets, _gather(frame["movie_id"], rows).to_arrow())
    for name, list_name in LISTS.items():
        if name in frame.columns:
            columns[list_name] = pa.LargeListArray.from_arrays(offsets, _gather(frame[name], rows).to_arrow())
            types[list_name] = List(feature_of(frame[name].dtype))
    return dataset_of(pa.table(columns), Features(types))


def _gather(column: pl.Series, rows: IntArray) -> pl.Series:
    """These rows of a column. Numpy gathers numbers ten times as fast as Polars."""
    if column.dtype.is_integer() or column.dtype.is_float():
        return pl.Series(column.to_numpy()[rows])
    return column.gather(rows)
