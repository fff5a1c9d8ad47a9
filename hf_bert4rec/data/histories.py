"""Ratings to histories: one row per user, in one stable chronological order."""

import logging
from collections.abc import Collection
from itertools import pairwise

import numpy as np
import polars as pl
import pyarrow as pa
from datasets import Dataset, Features, List, Value

from .arguments import REPEATS, DataArguments
from .columns import as_events, as_ids, as_ratings, as_weights, refuse_rows
from .ragged import Array, IntArray, codes_with_events, offsets_of, repeated_rows, row_blocks, run_lengths
from .sorting import codes_of, stable_order
from .tables import dataset_of, feature_of, to_frame
from .times import as_seconds

logger = logging.getLogger(__name__)

READERS = {"timestamp": as_seconds, "rating": as_ratings, "event": as_events, "weight": as_weights}
LISTS = {"timestamp": "timestamps", "event": "events", "weight": "weights"}  # optional columns: names in histories
ROWS_PER_SORT = 1 << 20  # rows of a block of users that is sorted at once: its temporary arrays fit in the cache
# Columns of codes and of numbers, and their names in the table.
CODES = {"users": "user_id", "items": "movie_id", "events": "event"}
NUMBERS = {"timestamps": "timestamp", "ratings": "rating", "weights": "weight"}


def build_histories(
    ratings: Dataset,
    min_interactions: int = 5,
    min_rating: float | None = None,
    repeats: str = "first",
    with_ratings: bool = False,
) -> Dataset:
    """Build one row per user: user_id, item_ids and, of what the ratings have, timestamps, events and weights.

    Within a user the order is (timestamp, row of `ratings`), stable; without timestamps it is the row order.
    Users are sorted by user_id (text by its UTF-8 bytes: "10" before "2"). In turn:

    1. ratings below `min_rating` are dropped (None: no rating is);
    2. of a user's interactions with one item only the first or the last stays, unless `repeats` is "all"; a warning
       counts the others. Events of different types do not repeat each other;
    3. users and items with fewer than `min_interactions` interactions are dropped, repeatedly, until all that remain
       have that many (the k-core; 1 drops none).

    `item_ids` have the type of `movie_id`, or are integers if that is float; whitespace around ids of text is removed.
    `timestamps` are seconds, converted as by `read_interactions`. `with_ratings` adds `ratings`, if there are any.

    Raises:
        ValueError: A missing column, an id, timestamp or (with `min_rating`) rating that is missing or not finite, or
            no user is left.
    """
    check_filters(min_interactions, repeats)
    optional = [*LISTS, "rating"] if with_ratings else [*LISTS]
    names = ["user_id", "movie_id", *(name for name in optional if name in ratings.column_names)]
    frame = _checked(ratings, names if min_rating is None else list(dict.fromkeys([*names, "rating"])))
    columns = _select(frame, min_interactions, min_rating, repeats)
    if not len(columns["rows"]):
        pairs = to_frame(ratings, ["user_id", "movie_id"])
        counts = pairs.height, pairs["user_id"].n_unique(), pairs["movie_id"].n_unique()
        raise ValueError(no_user_message(*counts, min_interactions, min_rating))
    if not with_ratings:
        columns.pop("ratings", None)
    return _grouped(frame, columns, ratings.features)


def _checked(ratings: Dataset, columns: list[str]) -> pl.DataFrame:
    if missing := [name for name in columns if name not in ratings.column_names]:
        fix = "rating_column (--rating_column) names that of a table" if "rating" in missing else "rename those"
        raise ValueError(f"the ratings lack the columns {missing}; they have {ratings.column_names}: {fix}")
    frame = to_frame(ratings, columns)
    for name in ("user_id", "movie_id"):
        refuse_rows(frame[name], frame[name].is_null(), "the ratings", "an id is needed")
        dtype = frame[name].dtype
        if dtype.is_float() or dtype == pl.String:  # as the tokenizer compares ids: " 7" is "7", and 7.0 is 7
            ids = as_ids(frame[name], "the ratings")
            frame = frame.with_columns(ids if dtype.is_float() else ids.cast(pl.String))
    return frame.with_columns(reader(frame[name], "the ratings") for name, reader in READERS.items() if name in columns)


def check_filters(min_interactions: int, repeats: str) -> None:
    """Raise ValueError for a value that `build_histories` does not take."""
    if min_interactions < 1:
        raise ValueError(f"min_interactions must be 1 (keep all) or more, not {min_interactions}")
    if repeats not in REPEATS:
        raise ValueError(f"repeats is {repeats!r}; it must be one of {', '.join(REPEATS)}")


def order_events(event_types: Collection[str], arguments: DataArguments) -> list[str]:
    """The event types, those of `target_events` first; ValueError if these are missing or do not occur."""
    targets, others = arguments.target_events or [], sorted(event_types)
    unknown = [name for name in targets if name not in event_types]
    if unknown or not targets:
        raise ValueError(
            f"target_events is {arguments.target_events}, but the event types in {arguments.event_column!r} are "
            f"{', '.join(map(repr, others))}: name those to recommend by target_events=[...] (--target_events)"
        )
    return [*targets, *(name for name in others if name not in targets)]


def no_user_message(interactions: int, users: int, items: int, min_interactions: int, min_rating: float | None) -> str:
    """The error where the filters leave no user of a table with these counts."""
    threshold = "" if min_rating is None else f", counting ratings of {min_rating:g} or higher"
    return (
        f"No user is left of {interactions:,} interactions of {users:,} users with {items:,} items when users and "
        f"items need {min_interactions} interactions each{threshold}. Lower min_interactions (1 keeps all) or "
        "min_rating, or give more data."
    )


def _select(frame: pl.DataFrame, min_interactions: int, min_rating: float | None, repeats: str) -> dict[str, Array]:
    """The `rows` of the histories, in order, with codes of users, items and events and the other columns of the frame.

    Ids are gathered only after this.
    """
    dtype = np.int32 if frame.height < 1 << 29 else np.int64  # of codes, which are below four times the rows
    columns: dict[str, Array] = {"rows": np.arange(frame.height, dtype=dtype)}
    if frame.is_empty():
        return columns
    columns |= {name: codes_of(frame[ours]).astype(dtype) for name, ours in CODES.items() if ours in frame.columns}
    columns |= {name: frame[ours].to_numpy(writable=True) for name, ours in NUMBERS.items() if ours in frame.columns}
    lengths, surplus = sort_rows(columns, int(columns["users"].max()) + 1, min_rating, repeats)
    if surplus:
        warn_of_repeats(surplus, len(columns["rows"]) + surplus, repeats)
    columns["users"] = np.repeat(np.arange(len(lengths), dtype=dtype), lengths)
    _keep_core(columns, min_interactions)
    del columns["items"]
    return columns


def sort_rows(columns: dict[str, Array], users: int, min_rating: float | None, repeats: str) -> tuple[IntArray, int]:
    """Steps 1 and 2 of `build_histories` for rows in the order of the table, in place.

    `columns`, (rows,) each, are codes of `users` and `items` and, if known, `timestamps`, `ratings`, `events` and any
    others. `users` are removed.

    Returns:
        The lengths of the histories (users,), and the number of repeats that were dropped.
    """
    if (columns["users"][1:] < columns["users"][:-1]).any():
        _keep(columns, stable_order(columns["users"].astype(np.int64, copy=False)))
    counts = np.bincount(columns["users"], minlength=users)
    height = surplus = 0
    for start, stop in pairwise(offsets_of(counts)[row_blocks(counts, ROWS_PER_SORT)]):
        rows = {name: values[start:stop] for name, values in columns.items()}
        surplus += _sort_users(rows, min_rating, repeats)
        for name, values in rows.items():  # blocks only become smaller: what is overwritten was read
            columns[name][height : height + len(values)] = values
        height += len(rows["users"])
    _keep(columns, slice(height))
    return np.bincount(columns.pop("users"), minlength=users), surplus


def _sort_users(columns: dict[str, Array], min_rating: float | None, repeats: str) -> int:
    """`sort_rows` of users in order, with all their rows; the number of repeats that were dropped."""
    if min_rating is not None:
        _keep(columns, columns["ratings"] >= min_rating)
    users = columns["users"].astype(np.int64, copy=False)
    _keep(columns, stable_order(users, columns.get("timestamps")))  # users are in order, and stay so
    repeated = codes_with_events(columns["items"].astype(np.int64, copy=False), columns.get("events"))
    surplus = surplus_rows(users, repeated, repeats)
    if len(surplus):
        _keep(columns, np.delete(np.arange(len(repeated)), surplus))
    return len(surplus)


def _keep(columns: dict[str, Array], rows: Array | slice) -> None:
    """Reduce columns to these rows, in place: one after the other takes less memory than all at once."""
    for name, values in columns.items():
        columns[name] = values[rows]


def surplus_rows(users: IntArray, items: IntArray, repeats: str) -> IntArray:
    """The rows of sorted histories that `repeats` drops: "first" and "last" leave one of every user and item."""
    if repeats == "all":
        return np.empty(0, dtype=np.int64)
    if repeats == "last":
        return len(users) - 1 - repeated_rows(users[::-1], items[::-1])
    return repeated_rows(users, items)


def warn_of_repeats(surplus: int, interactions: int, repeats: str) -> None:
    logger.warning(
        "%d of %d interactions repeat a user's %s one: dropped. repeats='all' (--repeats all) keeps them, to "
        "recommend items again",
        surplus,
        interactions,
        "earlier" if repeats == "first" else "later",
    )


def _keep_core(columns: dict[str, Array], min_interactions: int) -> None:
    """Reduce columns to the k-core, in place: each user and each item has `min_interactions` rows or more."""
    height = -1
    while height != len(columns["rows"]):
        height = len(columns["rows"])
        for ids in ("items", "users"):
            counts = np.bincount(columns[ids])
            if ((counts > 0) & (counts < min_interactions)).any():
                _keep(columns, (counts >= min_interactions)[columns[ids]])


def _grouped(frame: pl.DataFrame, columns: dict[str, Array], features: Features) -> Dataset:
    """One row per user with lists; `columns` are those of `_select`."""
    rows, offsets = columns["rows"], offsets_of(run_lengths(columns["users"]))
    user_type, item_type = (
        Value("int64") if features[name].dtype.startswith("float") else features[name]
        for name in ("user_id", "movie_id")
    )
    types = {"user_id": user_type, "item_ids": List(item_type)}
    table = {"user_id": _gather(frame["user_id"], rows[offsets[:-1]]).to_arrow()}
    table["item_ids"] = pa.LargeListArray.from_arrays(offsets, _gather(frame["movie_id"], rows).to_arrow())
    for name, plural in {**LISTS, "rating": "ratings"}.items():
        if plural in columns:
            values = frame[name].gather(rows).to_arrow() if name == "event" else pa.array(columns[plural])
            table[plural] = pa.LargeListArray.from_arrays(offsets, values)
            types[plural] = List(feature_of(frame[name].dtype))
    return dataset_of(pa.table(table), Features(types))


def _gather(column: pl.Series, rows: IntArray) -> pl.Series:
    """These rows of a column. Numpy gathers numbers ten times as fast as Polars."""
    if column.dtype.is_integer() or column.dtype.is_float():
        return pl.Series(column.to_numpy()[rows])
    return column.gather(rows)
