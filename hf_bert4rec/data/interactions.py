"""Any table of interactions as the tables that `load_movielens` returns."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
from datasets import DatasetDict

from .arguments import TableOptions
from .column_names import AUTO, NOUNS, find_column
from .columns import as_ids
from .delimited import PAIRS
from .histories import READERS
from .items import join_items, read_items
from .tables import read_table, to_dataset

logger = logging.getLogger(__name__)

COLUMN_READERS = {"user_id": as_ids, "movie_id": as_ids, **READERS}


class Interactions(DatasetDict):
    """`DatasetDict{ratings, movies}`, and the name that the table has for what `movie_id` holds."""

    item_column = "movie_id"


def read_interactions(
    table: Any,
    user_column: str = AUTO,
    item_column: str = AUTO,
    time_column: str | None = AUTO,
    rating_column: str | None = "rating",
    items: Any = None,
    item_columns: Mapping[str, str | None] | None = None,
    event_column: str | None = None,
    weight_column: str | None = None,
    **options: Any,
) -> Interactions:
    """Read a table of interactions as `DatasetDict{ratings, movies}`, the result of `load_movielens`.

    It has one row per interaction, in any order, and is the path of a file, a folder of files or a glob; "user/name", a
    data set on the Hub; or a DataFrame of pandas or Polars, an Arrow table, a Dataset or an iterable of dictionaries.
    docs/formats.md lists the forms of files; their content decides, not their name. The log says how they were read.

    Ids become int64 or text (`as_ids`), times seconds since 1970 in UTC (`as_seconds`). Repeated pairs stay.

    Args:
        user_column, item_column, time_column: by default user_id, movie_id and timestamp, or the columns with another
            usual name, such as "customer"; see `column_names.py`. `time_column` is None or "" if rows are in
            chronological order; the result then has no timestamps.
        rating_column: None or "" to read no ratings; a table without a column "rating" or "Rating" needs no option.
        items: a table in one of these forms with the item column and, if known, title, year and genres (lists, JSON, or
            text with "|", ";" or "," between them). Without a year column the year is split off titles such as
            "Heat (1995)". An item without a row or a title has its id as title.
        item_columns: columns of `items` by our names, such as {"movie_id": "sku", "title": "name"}; None to read none.
        event_column: event types, such as "view" and "purchase", which become the column "event".
        weight_column: weights of the interactions in the loss, which become the column "weight".
        options: the fields of `TableOptions`; `columns` and those of data sets are not for `items`.

    Raises:
        FileNotFoundError: no such file or data set.
        ValueError: an empty table, a missing or ambiguous column, an id, time, rating, event or weight that is missing
            or unreadable, or a duplicate item; the message names file, row and value.
        TypeError: a table in another form, or an unknown option.
    """
    columns = {"user_id": user_column, "movie_id": item_column, "rating": rating_column, "timestamp": time_column}
    columns |= {"event": event_column, "weight": weight_column}
    return read_tables(table, columns, TableOptions(**options), items, item_columns)


def read_tables(
    interactions: Any,
    requested: Mapping[str, str | None],
    options: TableOptions,
    items: Any = None,
    item_columns: Mapping[str, str | None] | None = None,
) -> Interactions:
    """`read_interactions` of the `requested` columns, which are named by our names."""
    table = read_table(interactions, "interactions", options)
    columns = find_columns(table.frame.collect_schema().names(), table.source, table.form, requested)
    frame = table.rows(list(dict.fromkeys(columns.values())))
    if frame.is_empty():
        raise ValueError(f"{table.source} has no rows")
    ratings = pl.DataFrame(
        [COLUMN_READERS[name](frame[theirs], table.source).alias(name) for name, theirs in columns.items()]
    )
    if "timestamp" in columns:
        times = ratings["timestamp"].to_numpy().astype("datetime64[s]")
        logger.info("%s: times from %s to %s", table.source, times.min(), times.max())
    item_table = read_item_table(items, columns["movie_id"], item_columns, options)
    ratings, movies = join_items(ratings, item_table, table.source)
    tables = Interactions(ratings=to_dataset(ratings), movies=to_dataset(movies))
    tables.item_column = columns["movie_id"]
    return tables


def read_item_table(
    items: Any, item_column: str, item_columns: Mapping[str, str | None] | None, options: TableOptions
) -> pl.DataFrame | None:
    """The table of items under our names; None if there is none."""
    if items is None:
        return None
    table = read_table(items, "items", replace(options, columns=None, dataset_config=None, dataset_split=None))
    names = {"movie_id": item_column, **(item_columns or {})}
    if names["movie_id"] not in (available := table.frame.collect_schema().names()):
        names["movie_id"] = find_column("movie_id", available, table.source)
    return read_items(table.rows(), names, table.source)


def find_columns(
    available: Sequence[str], source: str, form: str, requested: Mapping[str, str | None]
) -> dict[str, str]:
    """A table's `requested` columns, by our names; ValueError says how to name a missing one."""
    columns = {}
    for role, name in requested.items():
        if name == AUTO or name == role == "rating":
            name = None if role == "timestamp" and form == PAIRS else find_column(role, available, source)
        if not name and role in ("user_id", "movie_id"):
            raise ValueError(f"{NOUNS[role]}_column is {name!r}, and a table needs a column of {NOUNS[role]}s")
        if name and (name != "rating" or name in available):
            columns[role] = name
    if missing := {role: name for role, name in columns.items() if name not in available}:
        how = " and ".join(f"{NOUNS[role]}_column=..." for role in missing)
        none = " (time_column='' if the rows are in order already)" if "timestamp" in missing else ""
        raise ValueError(
            f"{source} has no column {', '.join(map(repr, missing.values()))}; it has {[*available]}. "
            f"Name the right one with {how}{none}.{_header_hint(available)}"
        )
    names = ", ".join(f"{NOUNS[role]}s in {name!r}" for role, name in columns.items())
    order = "" if "timestamp" in columns else "; rows in chronological order"
    logger.info("%s: %s, %s%s", source, form, names, order)
    return columns


def _header_hint(names: Sequence[str]) -> str:
    """What is probably wrong with a text file whose first line gives these names."""
    if any(name.startswith(('"', "'")) for name in names):
        return f" Are its fields quoted? Give quote_char={names[0][0]!r}."
    if any(name.strip().lstrip("-").replace(".", "", 1).isdigit() for name in names):
        return " If the file has no header, give the names of its columns by columns=[...] (--columns)."
    return ""
