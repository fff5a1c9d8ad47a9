"""Any table of interactions, and sequence files, as the tables that `load_movielens` returns."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from datasets import Dataset, DatasetDict

from .arguments import TextOptions
from .column_names import AUTO, OPTIONS, are_usual_names, find_column
from .columns import INTEGER, as_events, as_ids, as_ratings, as_seconds, as_weights
from .delimited import PAIRS, UTF8_MARK, Dialect
from .items import ITEM_COLUMNS, read_items
from .movielens import read_movies
from .rows import read_rows
from .tables import Table, read_table, to_dataset, to_frame

logger = logging.getLogger(__name__)

SEQUENCE_FILE, MAPPING_FILE, MOVIES_FILE = "ml-1m.txt", "item_mapping.txt", "movies.dat"
# Users, items and interactions of the file that published results are made with.
SEQUENCE_COUNTS = (6_040, 3_416, 999_611)


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
    dataset_config: str | None = None,
    dataset_split: str | None = None,
    event_column: str | None = None,
    weight_column: str | None = None,
    **text_options: Any,
) -> Interactions:
    """Read a table of interactions as `DatasetDict{ratings, movies}`, the result of `load_movielens`.

    A table is one of:

    - the path of a file, of a folder of files, or a glob. Files hold CSV or TSV, RecBole's atomic files, lines of "user
      item" in chronological order, JSON lines, a JSON array, Parquet or Arrow, also compressed by gzip, zstd, bzip2 or
      zip; their content decides, not their name;
    - "user/name", a data set on the Hub;
    - a DataFrame of pandas or Polars, an Arrow table, a Dataset, or an iterable of dictionaries.

    It has one row per interaction, in any order. What was understood is logged.

    - Ids: blanks around an id are removed; a column of integers becomes int64, any other text ("007" too).
    - Times become seconds since 1970, int64 or, if one has a fraction of a second, float64. Dates, datetimes and ISO
      text are UTC unless they name a zone. The unit of numbers, seconds to nanoseconds, follows from their magnitude.
    - Repeated (user, item) pairs stay; `build_histories` keeps the first of each.

    Args:
        user_column, item_column, time_column: by default user_id, movie_id and timestamp, or the columns with another
            usual name, such as "customer"; see `column_names.py`. `time_column` is None if rows are in chronological
            order; the result then has no timestamps.
        rating_column: None to read no ratings; a table without a column "rating" needs no option.
        items: a table of the same kinds with the item column and, if known, title, year and genres (lists, JSON, or
            text with "|", ";" or "," between them). Without a year column the year is split off titles such as
            "Heat (1995)". An item without a row or a title has its id as title.
        item_columns: columns of `items` by our names, such as {"movie_id": "sku", "title": "name"}; None for a
            column that is not to be read.
        dataset_config, dataset_split: of a data set on the Hub, or of a local folder of one; not those of `items`.
        event_column: kinds of events, such as "view" and "purchase", which become the column "event"; None for none.
        weight_column: weights of the interactions in the loss, which become the column "weight"; None for none.
        text_options: the fields of `TextOptions` for text files: `separator`, `encoding`, `quote_char`, `escape_char`
            and, not for `items`, `columns`.

    Raises:
        FileNotFoundError: no such file or data set.
        ValueError: an empty table, a missing or ambiguous column, an id, time, rating, event or weight that is missing
            or unreadable, or a duplicate item; the message names file, row and value.
        TypeError: a table of another kind, or an unknown option.
    """
    options = TextOptions(**text_options)
    read = read_table(table, "interactions", options, dataset_config, dataset_split)
    requested = {"user_id": user_column, "movie_id": item_column, "rating": rating_column, "timestamp": time_column}
    requested |= {"event": event_column, "weight": weight_column}
    columns = find_columns(read, requested)
    frame = read.rows(list(dict.fromkeys(columns.values())))
    if frame.is_empty():
        raise ValueError(f"{read.source} has no rows")
    readers = {"user_id": as_ids, "movie_id": as_ids, "rating": as_ratings, "timestamp": as_seconds}
    readers |= {"event": as_events, "weight": as_weights}
    ratings = pl.DataFrame(
        [readers[name](frame[theirs], theirs, read.source).alias(name) for name, theirs in columns.items()]
    )
    tables = Interactions(
        joined(ratings, read_item_table(items, columns["movie_id"], item_columns, options), read.source)
    )
    tables.item_column = columns["movie_id"]
    return tables


def read_item_table(
    items: Any, item_column: str, item_columns: Mapping[str, str | None] | None, options: TextOptions
) -> pl.DataFrame | None:
    """The table of items under our names; None if there is none."""
    if items is None:
        return None
    described = read_table(items, "items", replace(options, columns=None))
    names = {"movie_id": item_column, **(item_columns or {})}
    if names["movie_id"] not in (available := described.frame.collect_schema().names()):
        names["movie_id"] = find_column("movie_id", available, described.source)
    return read_items(described.rows(), names, described.source)


def read_sequences(
    path: str | Path, items: Dataset | pl.DataFrame | None = None, id_mapping: str | Path | None = None
) -> DatasetDict:
    """Read a file with "user item" on each line, in chronological order for each user, without a header.

    `ratings` has user_id and movie_id only, in the order of the lines.

    Args:
        items: a movies table with movie_id, title, year and genres, such as `load_movielens(...)["movies"]`, all of
            which is returned; without it, ids serve as titles.
        id_mapping: a file of "item id in the sequence file, movie id" lines; without it the file's ids are movie ids.

    Raises:
        ValueError: A line that is not two fields, a header, an item without a mapping, or a mapping that gives two
            items one id; the message names file and line.
    """
    path = Path(path)
    ratings = _read_pairs(path, ("user_id", "movie_id"))
    if id_mapping is not None:
        ratings = _mapped(ratings, path, Path(id_mapping))
    return joined(ratings, to_frame(items) if isinstance(items, Dataset) else items, str(path))


def load_ml1m_sequences(folder: str | Path) -> DatasetDict:
    """Read the ML-1M sequences that published BERT4Rec and SASRec results use, with GroupLens' ids and titles.

    `folder` holds ml-1m.txt, item_mapping.txt (its item ids → GroupLens') and the release's movies.dat.

    Raises:
        FileNotFoundError: A file is missing. ValueError: The counts are not those of the published file.
    """
    folder = Path(folder)
    if missing := [name for name in (SEQUENCE_FILE, MAPPING_FILE, MOVIES_FILE) if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}")
    movies = read_movies(folder / MOVIES_FILE, "ml-1m")
    tables = read_sequences(folder / SEQUENCE_FILE, movies, folder / MAPPING_FILE)
    ratings = to_frame(tables["ratings"])
    counts = (ratings["user_id"].n_unique(), ratings["movie_id"].n_unique(), ratings.height)
    if counts != SEQUENCE_COUNTS:
        raise ValueError(
            f"{folder / SEQUENCE_FILE} has (users, items, interactions) {counts}, but the file of published results "
            f"has {SEQUENCE_COUNTS}: take the original, or read another file with read_sequences"
        )
    return tables


def find_columns(table: Table, requested: Mapping[str, str | None]) -> dict[str, str]:
    """The table's columns by our names; ValueError that says how to map them if one is missing."""
    available = table.frame.collect_schema().names()
    columns = {}
    for role, name in requested.items():
        if name == AUTO:
            name = None if role == "timestamp" and table.form == PAIRS else find_column(role, available, table.source)
        if name is not None and (name != "rating" or name in available):
            columns[role] = name
    if missing := {role: name for role, name in columns.items() if name not in available}:
        how = " and ".join(f"{OPTIONS[role]}_column=..." for role in missing)
        none = " (time_column=None if the rows are in order already)" if "timestamp" in missing else ""
        raise ValueError(
            f"{table.source} has no column {', '.join(map(repr, missing.values()))}; it has {available}. "
            f"Name the right one with {how}{none}.{_header_hint(available)}"
        )
    names = ", ".join(f"{OPTIONS[role]}s in {name!r}" for role, name in columns.items())
    order = "" if "timestamp" in columns else "; rows in chronological order"
    logger.info("%s: %s, %s%s", table.source, table.form, names, order)
    return columns


def _header_hint(names: list[str]) -> str:
    """What is probably wrong with a text file whose first line gives these names."""
    if any(name.startswith(('"', "'")) for name in names):
        return f" Are its fields quoted? Give quote_char={names[0][0]!r}."
    if any(name.strip().lstrip("-").replace(".", "", 1).isdigit() for name in names):
        return " If the file has no header, give the names of its columns by columns=[...] (--columns)."
    return ""


def joined(ratings: pl.DataFrame, movies: pl.DataFrame | None, source: str) -> DatasetDict:
    """Both tables as datasets, with ids of one type and a movies row for every item of the ratings."""
    rated = ratings.select(pl.col("movie_id").unique()).sort("movie_id")
    if movies is None:
        return DatasetDict(ratings=to_dataset(ratings), movies=to_dataset(_undescribed(rated)))
    ratings, rated, movies = _with_ids_of_one_type(ratings, rated, movies)
    missing = rated.join(movies, on="movie_id", how="anti").sort("movie_id")
    if missing.height == rated.height:
        raise ValueError(
            f"{source}: none of its {rated.height:,} items is in the items' table; ids are like "
            f"{rated['movie_id'][0]!r} here and like {movies['movie_id'].head(1).to_list()} there. "
            "Map the right id column."
        )
    if missing.height:
        first = missing["movie_id"][0]
        logger.warning("%s: %d items have no row in the items' table (the first is %r)", source, missing.height, first)
    catalogue = pl.concat([movies.select(ITEM_COLUMNS), _undescribed(missing)])
    return DatasetDict(ratings=to_dataset(ratings), movies=to_dataset(catalogue))


def _with_ids_of_one_type(*frames: pl.DataFrame) -> list[pl.DataFrame]:
    """The frames with their `movie_id` as text if only some of them hold integers: they can still be the same ids."""
    same = len({frame["movie_id"].dtype for frame in frames}) == 1
    return [frame if same else frame.with_columns(pl.col("movie_id").cast(pl.String)) for frame in frames]


def _undescribed(ids: pl.DataFrame) -> pl.DataFrame:
    """Rows for items with a known id only, which becomes the title."""
    return ids.select(
        "movie_id",
        pl.col("movie_id").cast(pl.String).alias("title"),
        pl.lit(None, pl.Int64).alias("year"),
        pl.lit([], pl.List(pl.String)).alias("genres"),
    )


def _read_pairs(path: Path, names: tuple[str, str]) -> pl.DataFrame:
    """A file of two fields per line, separated by one space or tab."""
    data = path.read_bytes().removeprefix(UTF8_MARK).replace(b"\t", b" ")
    if not data.strip():
        raise ValueError(f"{path} has no rows")
    frame = read_rows(data, dict.fromkeys(names, pl.String), Dialect(" "), path)
    _refuse_header(frame, path)
    return pl.DataFrame([as_ids(frame[name], name, str(path)) for name in names])


def _refuse_header(frame: pl.DataFrame, path: Path) -> None:
    """Raise ValueError if the first line names columns: text above integers, or words for user and item."""
    first, rest = frame.row(0), frame.slice(1)
    integers = [column.str.contains(INTEGER) for column in frame]
    text_above_integers = rest.height and any(not column[0] and column.slice(1).all() for column in integers)
    if text_above_integers or are_usual_names(first):
        raise ValueError(f"{path}, line 1: {' '.join(first)!r} looks like a header; remove this line")


def _mapped(ratings: pl.DataFrame, path: Path, id_mapping: Path) -> pl.DataFrame:
    mapping = _read_pairs(id_mapping, ("movie_id", "mapped"))
    for name in mapping.columns:
        if (repeated := ~mapping[name].is_first_distinct()).any():
            line = repeated.arg_true()[0] + 1
            raise ValueError(f"{id_mapping}, line {line}: duplicate id {mapping[name][line - 1]!r}")
    ratings, mapping = _with_ids_of_one_type(ratings, mapping)
    mapped = ratings.join(mapping, on="movie_id", how="left", maintain_order="left")
    if (unknown := mapped["mapped"].is_null()).any():
        line = unknown.arg_true()[0]
        raise ValueError(f"{path}, line {line + 1}: item {ratings['movie_id'][line]!r} is not in {id_mapping}")
    return mapped.select("user_id", pl.col("mapped").alias("movie_id"))
